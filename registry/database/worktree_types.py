"""Worktree types in the registry database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.database.part import Part, as_json
from registry.models import WorktreeType


class WorktreeTypes(Part):
    """Reads and writes worktree types."""

    async def list_worktree_types(self) -> list[WorktreeType]:
        """All types, the built-in ones first."""
        return await self._pool.rows(WorktreeType, "SELECT * FROM public.worktree_types ORDER BY is_builtin DESC, id")

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
