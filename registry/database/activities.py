"""The audit log of agents in the registry database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from registry.database.part import Part, as_json
from registry.database.sizes import WHOLE_BYTES, Told
from registry.models import Activity, AgentWork

# By the function and not from the table, on which readers of the registry have no right.
ACTIVITIES = Told(
    Activity,
    "SELECT a.*, coalesce(w.name, d.name) AS worktree_name, coalesce(p.name, d.project_name) AS project_name,"
    " coalesce(w.project_id, d.project_id) AS project_id"
    " FROM public.agent_activities a"
    " LEFT JOIN public.worktrees w ON w.id = a.worktree_id"
    " LEFT JOIN public.projects p ON p.id = w.project_id"
    " LEFT JOIN LATERAL public.deleted_worktree(a.worktree_id) d ON w.id IS NULL",
    "a.id",
    ("description", "file_path"),
)


class Activities(Part):
    """Reads the audit log and appends to it."""

    async def log_activity(
        self,
        agent_id: str,
        worktree_id: UUID,
        activity_type: str,
        description: str,
        file_path: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> UUID:
        """Append to the audit log; returns the id of the activity."""
        activity_id: UUID = await self._pool.write(
            self._cause,
            "public.log_activity(%s, %s, %s, %s, %s, %s)",
            agent_id,
            worktree_id,
            activity_type,
            description,
            file_path,
            as_json(metadata),
        )
        return activity_id

    async def get_agent_recent_work(self, agent_id: str, limit: int = 50) -> list[AgentWork]:
        """An agent's latest activities, newest first."""
        return await self._pool.rows(
            AgentWork, "SELECT * FROM public.get_agent_recent_work(%s, %s::int)", agent_id, limit
        )

    async def get_activity(self, activity_id: UUID, *, most_bytes: int = WHOLE_BYTES) -> Activity | None:
        """An activity, also one in a worktree that was deleted; shortened when its large values have more bytes."""
        found = await self._told(Activity, ACTIVITIES, "WHERE a.id = %s", activity_id, most_bytes=most_bytes)
        return found[0] if found else None

    async def list_activities(
        self,
        *,
        agent_id: str | None = None,
        worktree_id: UUID | None = None,
        project_id: UUID | None = None,
        limit: int = 50,
    ) -> list[Activity]:
        """The latest activities, newest first, also those in worktrees that were deleted."""
        return await self._told(
            Activity,
            ACTIVITIES,
            "WHERE (%s::text IS NULL OR a.agent_id = %s) AND (%s::uuid IS NULL OR a.worktree_id = %s)"
            " AND (%s::uuid IS NULL OR public.current_project_id(%s) IN (w.project_id, d.project_id))"
            " ORDER BY a.created_at DESC, a.id LIMIT %s",
            agent_id,
            agent_id,
            worktree_id,
            worktree_id,
            project_id,
            project_id,
            limit,
        )
