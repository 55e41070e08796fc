"""What can happen to what, by name. What each event says: `catalogue.py`."""

from __future__ import annotations

from uuid import UUID

from registry.errors import Invalid
from registry.validation import printable

ACTIONS: dict[str, tuple[str, ...]] = {
    "project": ("registered", "updated", "deactivated", "reactivated", "merged", "deleted"),
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
    "host": ("registered", "updated", "removed"),
    "project_host": ("added", "updated", "removed"),
    "registry": ("truncated", "heartbeat"),
    "command": ("applied", "rejected"),
}
"""Entity to the actions that are reported of it."""


def check_filter(entity: str | None, action: str | None, project_id: str | None) -> None:
    """Raise `Invalid` for a filter that no event can match; None means any."""
    if entity is not None and entity not in ACTIONS:
        raise Invalid(f"entity {printable(entity)} is none of {', '.join(ACTIONS)}")
    if action is not None:
        _check_action(entity, action)
    if project_id is not None:
        try:
            UUID(project_id)
        except ValueError:
            raise Invalid(f"project {printable(project_id)} is not a UUID") from None


def _check_action(entity: str | None, action: str) -> None:
    if entity is None:
        actions, whose = sorted({action for actions in ACTIONS.values() for action in actions}), ""
    else:
        actions, whose = list(ACTIONS[entity]), f" of {entity}"
    if action not in actions:
        raise Invalid(f"action {printable(action)}{whose} is none of {', '.join(actions)}")
