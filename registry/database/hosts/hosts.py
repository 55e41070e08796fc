"""Hosts in the registry database, and who is on which."""

from __future__ import annotations

from uuid import UUID

from registry.database.part import Part
from registry.models import Host, HostCounts, ProjectHost

_HOST = "SELECT h.id, h.name, h.former_names, h.description, h.created_at, h.updated_at FROM public.hosts h"


class Hosts(Part):
    """Reads and writes hosts."""

    async def register_host(self, name: str, machine: str | None = None) -> UUID:
        """Id of the host of this name, added when there is none.

        Raises `Conflict` when it is known as another machine than `machine`, which its first caller gives.
        """
        host_id: UUID = await self._pool.write(self._cause, "public.register_host(%s, %s)", name, machine)
        return host_id

    async def update_host(
        self, host_id: UUID, name: str | None = None, description: str | None = None, machine: str | None = None
    ) -> None:
        """Change what is given of a host; an empty `machine` is forgotten. Its name before becomes a former one."""
        await self._pool.write(self._cause, "public.update_host(%s, %s, %s, %s)", host_id, name, description, machine)

    async def remove_host(self, host_id: UUID) -> None:
        """Remove a host; `Conflict` while worktrees or projects are on it, and for the default host."""
        await self._pool.write(self._cause, "public.remove_host(%s)", host_id)

    async def move_worktree(self, worktree_id: UUID, host_id: UUID) -> None:
        """Say that a worktree, with its path, is on another host than was known."""
        await self._pool.write(self._cause, "public.move_worktree(%s, %s)", worktree_id, host_id)

    async def place_project(self, project_id: UUID, host_id: UUID, trunk_path: str) -> None:
        """Say where the trunk of a project is on a host."""
        await self._pool.write(self._cause, "public.place_project(%s, %s, %s, true)", project_id, host_id, trunk_path)

    async def displace_project(self, project_id: UUID, host_id: UUID) -> None:
        """Forget that a project is on a host; `Conflict` for its home."""
        await self._pool.write(self._cause, "public.displace_project(%s, %s)", project_id, host_id)

    async def host_named(self, name: str) -> Host | None:
        """The host that has this name, or had it before."""
        return await self._pool.row(Host, f"{_HOST} WHERE h.id = public.host_named(%s)", name)

    async def own_host(self) -> Host | None:
        """The host that this is asked from, registered by that; None where none was named."""
        if self._cause.host is None:
            return None
        return await self.get_host(await self.register_host(self._cause.host, self._cause.machine))

    async def get_host(self, host_id: UUID) -> Host | None:
        """The host with this id."""
        return await self._pool.row(Host, f"{_HOST} WHERE h.id = %s", host_id)

    async def list_hosts(self) -> list[Host]:
        """All hosts, by name."""
        return await self._pool.rows(Host, f"{_HOST} ORDER BY h.name")

    async def count_hosts(self) -> list[HostCounts]:
        """All hosts, by name, and how much is on each."""
        return await self._pool.rows(
            HostCounts,
            "SELECT h.id, h.name, h.former_names, h.description, h.created_at, h.updated_at,"
            " h.machine IS NOT NULL AS is_introduced,"
            " (SELECT count(*) FROM public.v_project_hosts v JOIN public.projects p ON p.id = v.project_id"
            " WHERE v.host_id = h.id AND p.active) AS projects,"
            " coalesce(w.worktrees, 0) AS worktrees, coalesce(w.in_flight, 0) AS in_flight"
            " FROM public.hosts h"
            " LEFT JOIN (SELECT host_id, count(*) AS worktrees, count(*) FILTER (WHERE public.is_in_flight("
            " active, merged_at, has_uncommitted_changes, ahead_of_trunk, behind_trunk)) AS in_flight"
            " FROM public.worktrees WHERE active GROUP BY host_id) w ON w.host_id = h.id"
            " ORDER BY h.name",
        )

    async def project_hosts(self, project_id: UUID | None = None, host_id: UUID | None = None) -> list[ProjectHost]:
        """Where projects are, by project and host: one project's places, or those on one host."""
        return await self._pool.rows(
            ProjectHost,
            "SELECT v.* FROM public.v_project_hosts v"
            " WHERE (%s::uuid IS NULL OR v.project_id = %s) AND (%s::uuid IS NULL OR v.host_id = %s)"
            " ORDER BY v.project_name, v.project_id, v.host_name",
            project_id,
            project_id,
            host_id,
            host_id,
        )
