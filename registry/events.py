"""The event catalogue: which entities there are and what can happen to each (DESIGN.md, "Outbox")."""

from __future__ import annotations

from uuid import UUID

from registry.errors import Invalid

ACTIONS: dict[str, tuple[str, ...]] = {
    "project": ("registered", "updated", "deactivated", "reactivated", "deleted"),
    "worktree": (
        "created",
        "updated",
        "git_state_updated",
        "claimed",
        "released",
        "merged",
        "removed",
        "reactivated",
        "deleted",
    ),
    "worktree_type": ("added", "updated", "removed"),
    "activity": ("logged",),
    "registry": ("truncated",),
    "command": ("applied", "rejected"),
}
"""Entity to the actions that are reported of it."""


def check_filter(entity: str | None, action: str | None, project_id: str | None) -> None:
    """Raise `Invalid` for a filter that no event can match; None means any."""
    if entity is not None and entity not in ACTIONS:
        raise Invalid(f'entity "{entity}" is none of {", ".join(ACTIONS)}')
    actions = ACTIONS[entity] if entity else sorted({name for names in ACTIONS.values() for name in names})
    if action is not None and action not in actions:
        raise Invalid(f'action "{action}"{f" of {entity}" if entity else ""} is none of {", ".join(actions)}')
    if project_id is not None:
        try:
            UUID(project_id)
        except ValueError:
            raise Invalid(f'project "{project_id}" is not a UUID') from None
