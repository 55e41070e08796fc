"""`Registry`: the registry database for a component that reads and writes it directly.

One method per SQL function, with its parameters and defaults, and the lists that people look at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from registry.database.pool import Cause, Database
from registry.models import (
    Activity,
    AgentWork,
    InflightWork,
    LocatedProject,
    LocatedWorktree,
    Project,
    ProjectMatch,
    RegistryStats,
    Worktree,
    WorktreeType,
)

PROJECTS: LiteralString = (
    "SELECT p.id, p.name, p.remote_origin, p.default_branch, p.trunk_path, p.active, p.created_at, p.updated_at,"
    " p.description, p.metadata FROM public.projects p"
)
WORKTREES: LiteralString = (
    "SELECT w.*, p.name AS project_name, t.name AS type_name,"
    " public.worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk) AS status"
    " FROM public.worktrees w JOIN public.projects p ON p.id = w.project_id"
    " JOIN public.worktree_types t ON t.id = w.type_id"
)
NO_CAUSE = Cause()


class Registry:
    """A pool of connections to one registry database; open it with `Registry.connect`.

    All methods raise what `registry.errors` has: `NotFound`, `Conflict`, `Invalid` for what the functions refuse, and
    `Unavailable` when the database cannot be reached now; the pool recovers by itself. Whether a write that ended in
    `Unavailable` was applied is not known: repeat it, registering and merging are idempotent.
    """

    def __init__(self, database: Database, cause: Cause = NO_CAUSE) -> None:
        self._database = database
        self._cause = cause

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, database_url: str, *, max_connections: int = 10, timeout: float = 5.0
    ) -> AsyncIterator[Registry]:
        """Connect to the database at `database_url` (PostgreSQL, or PgBouncer in front of it).

        A call waits at most `timeout` seconds for one of `max_connections` connections. Raises `Unavailable` when the
        database does not answer now, `Conflict` when it has no registry schema of this version.
        """
        async with Database.connect(database_url, max_connections=max_connections, timeout=timeout) as database:
            yield cls(database)

    def acting(
        self,
        *,
        actor: str | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        traceparent: str | None = None,
    ) -> Registry:
        """The same registry, whose writes are attributed: `await registry.acting(actor="ada").log_activity(…)`.

        `traceparent` is a W3C trace context; one that is invalid is ignored.
        """
        return Registry(self._database, Cause(actor, correlation_id, causation_id, traceparent))

    # Projects

    async def register_project(
        self,
        name: str,
        remote_origin: str,
        default_branch: str = "main",
        trunk_path: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> UUID:
        """Id of the project of this origin: created, reactivated or updated as needed."""
        project_id: UUID = await self._database.write(
            self._cause,
            "public.register_project(%s, %s, %s, %s, %s)",
            name,
            remote_origin,
            default_branch,
            trunk_path,
            _json(metadata),
        )
        return project_id

    async def get_project_by_origin(self, remote_origin: str) -> LocatedProject | None:
        """The active project of this origin, in any form and case."""
        return await self._database.row(LocatedProject, "SELECT * FROM public.get_project_by_origin(%s)", remote_origin)

    async def update_project(
        self,
        project_id: UUID,
        name: str | None = None,
        default_branch: str | None = None,
        trunk_path: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is given of a project; metadata is merged by key."""
        await self._database.write(
            self._cause,
            "public.update_project(%s, %s, %s, %s, %s, %s)",
            project_id,
            name,
            default_branch,
            trunk_path,
            description,
            _json(metadata),
        )

    async def deactivate_project(self, project_id: UUID) -> None:
        """Soft delete of a project and its worktrees; does nothing when it is inactive already."""
        await self._database.write(self._cause, "public.deactivate_project(%s)", project_id)

    async def get_project_working_path(self, project_id: UUID, worktree_name: str | None = None) -> str:
        """The trunk path of an active project, or the directory beside it for a worktree."""
        path: str = await self._database.value(
            "SELECT public.get_project_working_path(%s, %s)", project_id, worktree_name
        )
        return path

    async def search_projects(self, query: str) -> list[ProjectMatch]:
        """Active projects whose name or owner/repo contains or resembles `query`: best first, at most 20."""
        return await self._database.rows(ProjectMatch, "SELECT * FROM public.search_projects(%s)", query)

    async def get_project(self, project_id: UUID) -> Project | None:
        """A project, active or not."""
        return await self._database.row(Project, PROJECTS + " WHERE p.id = %s", project_id)

    async def normalize_remote_origin(self, remote_origin: str) -> str | None:
        """The form in which the registry stores this origin; None when it is no GitHub repository."""
        origin: str | None = await self._database.value("SELECT public.normalize_remote_origin(%s)", remote_origin)
        return origin

    async def find_projects(self, reference: str) -> list[Project]:
        """Projects, active or not, with this name, this origin in any form, or an id that begins so."""
        return await self._database.rows(
            Project,
            PROJECTS + " WHERE p.remote_origin = public.normalize_remote_origin(%s) OR p.name = %s"
            " OR p.id BETWEEN %s AND %s ORDER BY p.active DESC, p.remote_origin",
            reference,
            reference,
            *_ids_beginning(reference),
        )

    async def list_projects(
        self, *, include_inactive: bool = False, limit: int | None = None, after: UUID | None = None
    ) -> list[Project]:
        """Projects in order of id: at most `limit`, those after the id `after`."""
        return await self._database.rows(
            Project,
            PROJECTS + " WHERE (p.active OR %s) AND (%s::uuid IS NULL OR p.id > %s) ORDER BY p.id LIMIT %s",
            include_inactive,
            after,
            after,
            limit,
        )

    # Worktrees

    async def register_worktree(
        self,
        project_id: UUID,
        type_name: str,
        name: str,
        branch_name: str,
        path: str,
        agent_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> UUID:
        """Id of the worktree of this project and name: created, taken up again or updated as needed."""
        worktree_id: UUID = await self._database.write(
            self._cause,
            "public.register_worktree(%s, %s, %s, %s, %s, %s, %s)",
            project_id,
            type_name,
            name,
            branch_name,
            path,
            agent_id,
            _json(metadata),
        )
        return worktree_id

    async def update_worktree_git_state(
        self,
        worktree_id: UUID,
        has_uncommitted: bool | None = None,
        uncommitted_count: int | None = None,
        ahead: int | None = None,
        behind: int | None = None,
        last_commit_hash: str | None = None,
        last_commit_message: str | None = None,
    ) -> None:
        """Store what a git sync found; None keeps a value. Counts are of files and of commits."""
        await self._database.write(
            self._cause,
            "public.update_worktree_git_state(%s, %s, %s::int, %s::int, %s::int, %s, %s)",
            worktree_id,
            has_uncommitted,
            uncommitted_count,
            ahead,
            behind,
            last_commit_hash,
            last_commit_message,
        )

    async def update_worktree(
        self,
        worktree_id: UUID,
        name: str | None = None,
        branch_name: str | None = None,
        path: str | None = None,
        type_name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is given of a worktree; metadata is merged by key."""
        await self._database.write(
            self._cause,
            "public.update_worktree(%s, %s, %s, %s, %s, %s)",
            worktree_id,
            name,
            branch_name,
            path,
            type_name,
            _json(metadata),
        )

    async def claim_worktree(self, worktree_id: UUID, agent_id: str) -> None:
        """Give a worktree to an agent; `Conflict` when another one holds it."""
        await self._database.write(self._cause, "public.claim_worktree(%s, %s)", worktree_id, agent_id)

    async def release_worktree(self, worktree_id: UUID, agent_id: str | None = None) -> None:
        """Take a worktree from its agent; `Conflict` when that is not `agent_id`, where it is given."""
        await self._database.write(self._cause, "public.release_worktree(%s, %s)", worktree_id, agent_id)

    async def remove_worktree(self, worktree_id: UUID) -> None:
        """Soft delete of a worktree; does nothing when it is inactive already."""
        await self._database.write(self._cause, "public.remove_worktree(%s)", worktree_id)

    async def mark_worktree_merged(self, worktree_id: UUID, merged_by: str, merge_commit_hash: str) -> None:
        """Record the merge and deactivate the worktree; the same merge again changes nothing."""
        await self._database.write(
            self._cause, "public.mark_worktree_merged(%s, %s, %s)", worktree_id, merged_by, merge_commit_hash
        )

    async def get_worktree_by_path(self, path: str) -> LocatedWorktree | None:
        """The active worktree at exactly this path."""
        return await self._database.row(LocatedWorktree, "SELECT * FROM public.get_worktree_by_path(%s)", path)

    async def get_worktree(self, worktree_id: UUID) -> Worktree | None:
        """A worktree, active or not."""
        return await self._database.row(Worktree, WORKTREES + " WHERE w.id = %s", worktree_id)

    async def find_worktrees(self, reference: str) -> list[Worktree]:
        """Worktrees, active or not, with this name, this path, or an id that begins so."""
        return await self._database.rows(
            Worktree,
            WORKTREES + " WHERE w.name = %s OR w.path = public.normalize_path(%s) OR w.id BETWEEN %s AND %s"
            " ORDER BY w.active DESC, p.name, w.name",
            reference,
            reference,
            *_ids_beginning(reference),
        )

    async def list_worktrees(
        self, *, project_id: UUID | None = None, agent_id: str | None = None, include_inactive: bool = False
    ) -> list[Worktree]:
        """Worktrees by project and name."""
        return await self._database.rows(
            Worktree,
            WORKTREES + " WHERE (w.active OR %s) AND (%s::uuid IS NULL OR w.project_id = %s)"
            " AND (%s::text IS NULL OR w.agent_id = %s) ORDER BY p.name, p.id, w.name",
            include_inactive,
            project_id,
            project_id,
            agent_id,
            agent_id,
        )

    async def get_inflight_work(
        self, project_id: UUID | None = None, *, limit: int | None = None
    ) -> list[InflightWork]:
        """Worktrees with uncommitted or unmerged work, latest first, at most `limit`; of all projects without an id."""
        return await self._database.rows(
            InflightWork, "SELECT * FROM public.get_inflight_work(%s) LIMIT %s", project_id, limit
        )

    # Worktree types

    async def list_worktree_types(self) -> list[WorktreeType]:
        """All types, the built-in ones first."""
        return await self._database.rows(
            WorktreeType, "SELECT * FROM public.worktree_types ORDER BY is_builtin DESC, id"
        )

    async def add_worktree_type(
        self,
        name: str,
        branch_prefix: str | None = None,
        worktree_prefix: str | None = None,
        description: str | None = None,
        color: str | None = None,
        icon: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Id of the type of this name, added when there is none; `Conflict` when there is one with other prefixes."""
        type_id: int = await self._database.write(
            self._cause,
            "public.add_worktree_type(%s, %s, %s, %s, %s, %s, %s)",
            name,
            branch_prefix,
            worktree_prefix,
            description,
            color,
            icon,
            _json(metadata),
        )
        return type_id

    async def remove_worktree_type(self, name: str) -> None:
        """Remove a type that no worktree has; `Conflict` for one that is in use or built in."""
        await self._database.write(self._cause, "public.remove_worktree_type(%s)", name)

    # Agents

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
        activity_id: UUID = await self._database.write(
            self._cause,
            "public.log_activity(%s, %s, %s, %s, %s, %s)",
            agent_id,
            worktree_id,
            activity_type,
            description,
            file_path,
            _json(metadata),
        )
        return activity_id

    async def get_agent_recent_work(self, agent_id: str, limit: int = 50) -> list[AgentWork]:
        """An agent's latest activities, newest first."""
        return await self._database.rows(
            AgentWork, "SELECT * FROM public.get_agent_recent_work(%s, %s::int)", agent_id, limit
        )

    async def list_activities(
        self,
        *,
        agent_id: str | None = None,
        worktree_id: UUID | None = None,
        project_id: UUID | None = None,
        limit: int = 50,
    ) -> list[Activity]:
        """The latest activities, newest first, also those in worktrees that were deleted."""
        return await self._database.rows(
            Activity,
            "SELECT a.*, coalesce(w.name, d.name) AS worktree_name, coalesce(p.name, d.project_name) AS project_name"
            " FROM public.agent_activities a"
            " LEFT JOIN public.worktrees w ON w.id = a.worktree_id"
            " LEFT JOIN public.projects p ON p.id = w.project_id"
            " LEFT JOIN public.deleted_worktrees d ON d.id = a.worktree_id"
            " WHERE (%s::text IS NULL OR a.agent_id = %s) AND (%s::uuid IS NULL OR a.worktree_id = %s)"
            " AND (%s::uuid IS NULL OR %s IN (w.project_id, d.project_id))"
            " ORDER BY a.created_at DESC, a.id LIMIT %s",
            agent_id,
            agent_id,
            worktree_id,
            worktree_id,
            project_id,
            project_id,
            limit,
        )

    # Maintenance

    async def cleanup_old_activities(self, retention_days: int = 90) -> int:
        """Remove activities older than so many days; returns how many."""
        removed: int = await self._database.write(self._cause, "public.cleanup_old_activities(%s::int)", retention_days)
        return removed

    async def prune_inactive_worktrees(self, inactive_days: int = 30) -> int:
        """Delete worktrees inactive and untouched for so many days; returns how many."""
        removed: int = await self._database.write(
            self._cause, "public.prune_inactive_worktrees(%s::int)", inactive_days
        )
        return removed

    async def maintenance_vacuum(self) -> None:
        """Refresh planner statistics, as the SQL function does; `imi-registry maintain vacuum` really vacuums."""
        await self._database.write(self._cause, "public.maintenance_vacuum()")

    async def get_registry_stats(self) -> RegistryStats:
        """Counts of everything."""
        (stats,) = await self._database.rows(RegistryStats, "SELECT * FROM public.get_registry_stats()")
        return stats


def _json(metadata: Mapping[str, Any] | None) -> Jsonb:
    return Jsonb(dict(metadata or {}))


def _ids_beginning(reference: str) -> tuple[UUID | None, UUID | None]:
    """The first and the last id that begin with `reference`; none for what is no beginning of an id."""
    digits = reference.replace("-", "").lower()
    is_beginning = bool(digits) and len(digits) <= 32 and set(digits) <= set("0123456789abcdef")
    if not is_beginning or not str(UUID(digits.ljust(32, "0"))).startswith(reference.lower()):
        return None, None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
