"""Projects in the registry database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString
from uuid import UUID

from registry.arguments import ids_with_prefix
from registry.database.part import Part, as_json
from registry.database.sizes import WHOLE_BYTES, Told
from registry.models import LocatedProject, Project, ProjectMatch

PROJECTS = Told(Project, "SELECT p.* FROM public.projects p", "p.id", ("description",))


class Projects(Part):
    """Reads and writes projects."""

    async def register_project(
        self,
        name: str,
        remote_origin: str,
        default_branch: str = "main",
        trunk_path: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        derived_id: bool | None = None,
        new_id: UUID | None = None,
    ) -> UUID:
        """Id of the project of this origin: created, or as it is known, reactivated and with its metadata merged.

        A new one gets `new_id`, where no project has or had it. Without: `derived_id` says whether it gets the id that
        follows from its origin; None: as the registry is set.
        """
        wanted = str(new_id) if new_id is not None else {None: "", True: "derived", False: "random"}[derived_id]
        project_id: UUID = await self._pool.write(
            self._cause,
            "CASE WHEN set_config('imi.project_id', %s, true) IS NOT NULL"
            " THEN public.register_project(%s, %s, %s, %s, %s) END",
            wanted,
            name,
            remote_origin,
            default_branch,
            trunk_path,
            as_json(metadata),
        )
        return project_id

    async def get_project_by_origin(self, remote_origin: str) -> LocatedProject | None:
        """The active project of this origin, in any form and case."""
        found = await self._pool.rows_on(self._cause, LocatedProject, "get_project_by_origin", remote_origin)
        return found[0] if found else None

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
        await self._pool.write(
            self._cause,
            "public.update_project(%s, %s, %s, %s, %s, %s)",
            project_id,
            name,
            default_branch,
            trunk_path,
            description,
            as_json(metadata),
        )

    async def change_project_origin(self, project_id: UUID, remote_origin: str) -> None:
        """Give a project the origin its repository has now; `former_origins` in its metadata has the one before."""
        await self._pool.write(self._cause, "public.change_project_origin(%s, %s)", project_id, remote_origin)

    async def merge_projects(self, loser: UUID, winner: UUID) -> UUID:
        """Make two projects one, and return its id: all that is of `loser` is of `winner` then, and its id means it.

        Of two worktrees of one name the loser's is renamed: name@host, or name@ and digits of the loser's id. Again, it
        changes nothing.
        """
        project_id: UUID = await self._pool.write(self._cause, "public.merge_projects(%s, %s)", loser, winner)
        return project_id

    async def adopt_project_id(self, project_id: UUID, adopted: UUID) -> UUID:
        """Let a project go on under the id `adopted`; its id of now means it, too.

        Raises `Conflict` for an id that another project has, or had.
        """
        now: UUID = await self._pool.write(self._cause, "public.adopt_project_id(%s, %s)", project_id, adopted)
        return now

    async def current_project_id(self, project_id: UUID) -> UUID:
        """The id under which a project goes on that was merged into another one; the same id for any other."""
        now: UUID = await self._pool.value("SELECT public.current_project_id(%s)", project_id)
        return now

    async def former_project_ids(self, project_id: UUID) -> list[UUID]:
        """Ids that a project had, and those of projects that were merged into it."""
        ids: list[UUID] = await self._pool.value(
            "SELECT ARRAY(SELECT a.id FROM public.project_aliases a WHERE a.project_id = %s ORDER BY a.id)", project_id
        )
        return ids

    async def derive_project_ids(self, by_default: bool) -> None:
        """Set whether new projects of this registry get the id that follows from their origin, unless a caller says."""
        await self._pool.write(self._cause, "public.derive_project_ids(%s)", by_default)

    async def deactivate_project(self, project_id: UUID) -> None:
        """Soft delete of a project and its worktrees; does nothing when it is inactive already."""
        await self._pool.write(self._cause, "public.deactivate_project(%s)", project_id)

    async def get_project_working_path(self, project_id: UUID, worktree_name: str | None = None) -> str:
        """The trunk path of an active project, or the directory beside it for a worktree."""
        path: str = await self._pool.value_on(
            self._cause, "public.get_project_working_path(%s, %s)", project_id, worktree_name
        )
        return path

    async def search_projects(self, query: str) -> list[ProjectMatch]:
        """Active projects whose name or owner/repo contains or resembles `query`: best first, at most 20."""
        return await self._pool.rows_on(self._cause, ProjectMatch, "search_projects", query)

    async def get_project(self, project_id: UUID, *, most_bytes: int = WHOLE_BYTES) -> Project | None:
        """A project, active or not, also by a former id; shortened when its large values have more bytes together."""
        condition: LiteralString = "WHERE p.id = public.current_project_id(%s)"
        found = await self._told(Project, PROJECTS, condition, project_id, most_bytes=most_bytes)
        return found[0] if found else None

    async def normalize_remote_origin(self, remote_origin: str) -> str | None:
        """The form in which the registry stores this origin; None when it is no GitHub repository."""
        origin: str | None = await self._pool.value("SELECT public.normalize_remote_origin(%s)", remote_origin)
        return origin

    async def project_of_origin(self, remote_origin: str) -> Project | None:
        """The project, active or not, that has this origin in any form, or had it before its repository was renamed."""
        found = await self._told(
            Project,
            PROJECTS,
            "CROSS JOIN public.normalize_remote_origin(%s) AS asked (origin)"
            " WHERE p.remote_origin = asked.origin"
            " OR p.metadata @> jsonb_build_object('former_origins', jsonb_build_array(asked.origin))"
            " ORDER BY (p.remote_origin = asked.origin) DESC, p.active DESC, p.id LIMIT 1",
            remote_origin,
        )
        return found[0] if found else None

    async def find_projects(self, reference: str) -> list[Project]:
        """Projects, active or not, with this name, this origin in any form, an id that begins so, or this former id."""
        first, last = ids_with_prefix(reference)
        return await self._told(
            Project,
            PROJECTS,
            "WHERE p.remote_origin = public.normalize_remote_origin(%s) OR p.name = %s"
            " OR p.id BETWEEN %s AND %s OR p.id = public.current_project_id(%s)"
            " ORDER BY p.active DESC, p.remote_origin",
            reference,
            reference,
            first,
            last,
            first,
        )

    async def project_names(self, prefix: str, limit: int) -> list[str]:
        """Names of active projects that begin so, each once, at most `limit`."""
        names: list[str] = await self._pool.value(
            "SELECT coalesce(array_agg(n.name), '{}') FROM ("
            " SELECT DISTINCT p.name FROM public.projects p WHERE p.active AND starts_with(p.name, %s)"
            " ORDER BY p.name LIMIT %s) n",
            prefix,
            limit,
        )
        return names

    async def list_projects(
        self,
        *,
        include_inactive: bool = False,
        limit: int | None = None,
        after: UUID | None = None,
        host_id: UUID | None = None,
        most_bytes: int = WHOLE_BYTES,
    ) -> list[Project]:
        """Projects in order of id: at most `limit`, those after the id `after`, those that are on the host `host_id`.

        One is shortened when its large values have more than `most_bytes` together.
        """
        return await self._told(
            Project,
            PROJECTS,
            "WHERE (p.active OR %s) AND (%s::uuid IS NULL OR p.id > %s)"
            " AND (%s::uuid IS NULL OR public.project_trunk(p.id, %s) IS NOT NULL) ORDER BY p.id LIMIT %s",
            include_inactive,
            after,
            after,
            host_id,
            host_id,
            limit,
            most_bytes=most_bytes,
        )
