"""Events of worktree types."""

from __future__ import annotations

from typing import Any

from registry.events.base import Changes, Data, NoChanges, Registration, example
from registry.validation.time import Time

_TYPE = {
    "type_id": 7,
    "name": "spike",
    "branch_prefix": "spike/",
    "worktree_prefix": "spike-",
    "description": "Throw-away experiments",
    "is_builtin": False,
    "color": "#6B7280",
    "icon": None,
    "metadata": {},
    "created_at": "2026-01-21T08:00:00+00:00",
}


class WorktreeType(Data):
    """A kind of worktree."""

    type_id: int
    """Id of the type."""
    name: str
    """Name, unique."""
    branch_prefix: str
    """What its branches begin with."""
    worktree_prefix: str
    """What its worktrees begin with."""
    description: str | None
    """Words for people."""
    is_builtin: bool
    """Built-in types cannot be removed."""
    color: str | None
    """How to draw it."""
    icon: str | None
    """How to draw it."""
    metadata: dict[str, Any]
    """Whatever its owner keeps there."""
    created_at: Time
    """When it was added."""


class WorktreeTypeChanges(Changes, total=False):
    """Previous values of the columns that changed."""

    name: str
    branch_prefix: str
    worktree_prefix: str
    description: str | None
    is_builtin: bool
    color: str | None
    icon: str | None
    metadata: dict[str, Any]
    created_at: Time


class WorktreeTypeAdded(WorktreeType, Registration):
    """A type of worktree is new."""

    model_config = example(_TYPE)
    changed: NoChanges
    """Empty."""


class WorktreeTypeUpdated(WorktreeType):
    """Columns of a type changed."""

    model_config = example(_TYPE, {"color": "#112233"})
    changed: WorktreeTypeChanges
    """Previous values."""


class WorktreeTypeRemoved(WorktreeType):
    """A type is gone; the data is what it was."""

    model_config = example(_TYPE)
    changed: NoChanges
    """Empty."""
