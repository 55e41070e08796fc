"""What a search in the whole registry found."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime

from registry.models.row import Row

Kind = Literal["project", "worktree", "activity"]
KINDS: tuple[Kind, ...] = ("project", "worktree", "activity")


class RegistryMatch(Row):
    """A project, worktree or activity that `search_registry` found."""

    kind: Kind
    """What it is."""
    id: UUID
    """Its id."""
    name: str | None
    """Name of the project or worktree; of an activity, that of its worktree. null when nobody knows it any more."""
    project_id: UUID | None
    """Id of the project that it is, or belongs to."""
    project_name: str | None
    """Name of that project."""
    worktree_id: UUID | None
    """Id of the worktree that it is, or belongs to; null of a project."""
    place: str | None
    """Origin of a project, path of a worktree, file of an activity."""
    excerpt: list[str]
    """A piece of text of it, in parts: every second one is what was looked for, or a word that resembles it."""
    relevance: float
    """How well it matches, 0 to 1."""
    active: bool
    """Whether it, or its worktree, is active."""
    occurred_at: AwareDatetime
    """When it was changed last; of an activity, when it was logged."""
