"""Worktrees in the registry database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from registry.arguments import ids_with_prefix
from registry.database.part import Part, as_json
from registry.database.sizes import WHOLE_BYTES, Told
from registry.models import LocatedWorktree, ProjectInflightWork, Worktree

WORKTREES = Told(
    Worktree,
    "SELECT w.*, p.name AS project_name, t.name AS type_name,"
    " public.worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk) AS status"
    " FROM public.worktrees w JOIN public.projects p ON p.id = w.project_id"
    " JOIN public.worktree_types t ON t.id = w.type_id",
    "w.id",
    ("last_commit_message",),
)


class Worktrees(Part):
    """Reads and writes worktrees."""

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
        worktree_id: UUID = await self._pool.write(
            self._cause,
            "public.register_worktree(%s, %s, %s, %s, %s, %s, %s)",
            project_id,
            type_name,
            name,
            branch_name,
            path,
            agent_id,
            as_json(metadata),
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
        """Store what a git sync found; None keeps a value. Counts are of files and of commits.

        An empty `last_commit_hash` says that there is no commit, as on a new branch without history.
        """
        await self._pool.write(
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
        await self._pool.write(
            self._cause,
            "public.update_worktree(%s, %s, %s, %s, %s, %s)",
            worktree_id,
            name,
            branch_name,
            path,
            type_name,
            as_json(metadata),
        )

    async def claim_worktree(self, worktree_id: UUID, agent_id: str) -> None:
        """Give a worktree to an agent; `Conflict` when another one holds it."""
        await self._pool.write(self._cause, "public.claim_worktree(%s, %s)", worktree_id, agent_id)

    async def release_worktree(self, worktree_id: UUID, agent_id: str | None = None) -> None:
        """Take a worktree from its agent; `Conflict` when that is not `agent_id`, where it is given."""
        await self._pool.write(self._cause, "public.release_worktree(%s, %s)", worktree_id, agent_id)

    async def remove_worktree(self, worktree_id: UUID) -> None:
        """Soft delete of a worktree; does nothing when it is inactive already."""
        await self._pool.write(self._cause, "public.remove_worktree(%s)", worktree_id)

    async def mark_worktree_merged(self, worktree_id: UUID, merged_by: str, merge_commit_hash: str) -> None:
        """Record the merge and deactivate the worktree; the same merge again changes nothing."""
        await self._pool.write(
            self._cause, "public.mark_worktree_merged(%s, %s, %s)", worktree_id, merged_by, merge_commit_hash
        )

    async def get_worktree_by_path(self, path: str) -> LocatedWorktree | None:
        """The active worktree at exactly this path."""
        found = await self._pool.rows_on(self._cause, LocatedWorktree, "get_worktree_by_path", path)
        return found[0] if found else None

    async def get_worktree(self, worktree_id: UUID, *, most_bytes: int = WHOLE_BYTES) -> Worktree | None:
        """A worktree, active or not; shortened when its large values have more bytes together."""
        found = await self._told(Worktree, WORKTREES, "WHERE w.id = %s", worktree_id, most_bytes=most_bytes)
        return found[0] if found else None

    async def find_worktrees(self, reference: str) -> list[Worktree]:
        """Worktrees, active or not, with this name, this path, or an id that begins so."""
        return await self._told(
            Worktree,
            WORKTREES,
            "WHERE w.name = %s OR w.path = public.normalize_path(%s) OR w.id BETWEEN %s AND %s"
            " ORDER BY w.active DESC, p.name, w.name",
            reference,
            reference,
            *ids_with_prefix(reference),
        )

    async def worktree_names(self, prefix: str, limit: int) -> list[str]:
        """Names of active worktrees that begin so, at most `limit`; `name@project` where a name alone could be several.

        With an "@" in `prefix` all of them are `name@project`.
        """
        names: list[str] = await self._pool.value(
            "SELECT coalesce(array_agg(n.name), '{}') FROM ("
            " SELECT CASE WHEN count(*) OVER (PARTITION BY w.name) > 1 OR strpos(%s, '@') > 0"
            " THEN concat(w.name, '@', p.name) ELSE w.name END AS name"
            " FROM public.worktrees w JOIN public.projects p ON p.id = w.project_id"
            " WHERE w.active AND starts_with(concat(w.name, '@', p.name), %s)"
            " ORDER BY w.name, p.name LIMIT %s) n",
            prefix,
            prefix,
            limit,
        )
        return names

    async def list_worktrees(
        self,
        *,
        project_id: UUID | None = None,
        agent_id: str | None = None,
        host_id: UUID | None = None,
        include_inactive: bool = False,
    ) -> list[Worktree]:
        """Worktrees by project and name."""
        return await self._told(
            Worktree,
            WORKTREES,
            "WHERE (w.active OR %s) AND (%s::uuid IS NULL OR w.project_id = public.current_project_id(%s))"
            " AND (%s::text IS NULL OR w.agent_id = %s) AND (%s::uuid IS NULL OR w.host_id = %s)"
            " ORDER BY p.name, p.id, w.name",
            include_inactive,
            project_id,
            project_id,
            agent_id,
            agent_id,
            host_id,
            host_id,
        )

    async def get_inflight_work(
        self, project_id: UUID | None = None, *, host_id: UUID | None = None, limit: int | None = None
    ) -> list[ProjectInflightWork]:
        """Worktrees with uncommitted or unmerged work, latest first, at most `limit`; of all projects without an id."""
        return await self._pool.rows(
            ProjectInflightWork,
            "SELECT f.worktree_id, f.worktree_name, f.branch_name, f.status, f.uncommitted_count, f.ahead, f.behind,"
            " f.agent_id, f.last_activity, p.id AS project_id, p.name AS project_name,"
            " coalesce(w.host_id, public.default_host_id()) AS host_id"
            " FROM public.get_inflight_work(%s) WITH ORDINALITY f"
            " LEFT JOIN public.worktrees w ON w.id = f.worktree_id"  # an inner one over no rows would not call f at all
            " LEFT JOIN public.projects p ON p.id = w.project_id"
            " WHERE %s::uuid IS NULL OR w.host_id = %s"
            " ORDER BY f.ordinality LIMIT %s",
            project_id,
            host_id,
            host_id,
            limit,
        )
