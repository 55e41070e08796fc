"""Worktree types in the registry database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString

from registry.database.part import Part, as_json
from registry.database.sizes import WHOLE_BYTES, Told
from registry.models import WorktreeType

WORKTREE_TYPES = Told(WorktreeType, "SELECT t.* FROM public.worktree_types t", "t.id", ("description",))


class WorktreeTypes(Part):
    """Reads and writes worktree types."""

    async def list_worktree_types(self, *, most_bytes: int = WHOLE_BYTES) -> list[WorktreeType]:
        """All types, the built-in ones first; one is shortened when its large values have more bytes together."""
        order: LiteralString = "ORDER BY t.is_builtin DESC, t.id"
        return await self._told(WorktreeType, WORKTREE_TYPES, order, most_bytes=most_bytes)

    async def get_worktree_type(self, type_id: int, *, most_bytes: int = WHOLE_BYTES) -> WorktreeType | None:
        """A type; shortened when its large values have more bytes together."""
        found = await self._told(WorktreeType, WORKTREE_TYPES, "WHERE t.id = %s", type_id, most_bytes=most_bytes)
        return found[0] if found else None

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
        type_id: int = await self._pool.write(
            self._cause,
            "public.add_worktree_type(%s, %s, %s, %s, %s, %s, %s)",
            name,
            branch_prefix,
            worktree_prefix,
            description,
            color,
            icon,
            as_json(metadata),
        )
        return type_id

    async def update_worktree_type(
        self,
        name: str,
        new_name: str | None = None,
        branch_prefix: str | None = None,
        worktree_prefix: str | None = None,
        description: str | None = None,
        color: str | None = None,
        icon: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is given of a type; metadata is merged by key. A built-in one keeps its name and prefixes."""
        await self._pool.write(
            self._cause,
            "public.update_worktree_type(%s, %s, %s, %s, %s, %s, %s, %s)",
            name,
            new_name,
            branch_prefix,
            worktree_prefix,
            description,
            color,
            icon,
            as_json(metadata),
        )

    async def remove_worktree_type(self, name: str) -> None:
        """Remove a type that no worktree has; `Conflict` for one that is in use or built in."""
        await self._pool.write(self._cause, "public.remove_worktree_type(%s)", name)
