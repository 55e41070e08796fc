"""Events of the audit log, in both versions, and the way from the first to the second."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from registry.events.base import Data, NoChanges, Registration, example
from registry.validation.time import Time

ActivityType = Literal[
    "created", "modified", "deleted", "committed", "pushed", "merged", "synced", "claimed", "released", "other"
]

_ACTIVITY = {
    "activity_id": "5c1d7a52-9b1e-4a55-9d6b-0d4f6f3f1a07",
    "agent_id": "agent-1",
    "activity_type": "modified",
    "file_path": "src/search.rs",
    "description": "first results",
    "metadata": {},
    "created_at": "2026-01-21T10:00:00.123456+00:00",
}
_ACTIVITY_WORKTREE = {
    "worktree_id": "9a7e6c1e-0d52-4f5e-8a5b-3a1d2b6f7c10",
    "worktree_name": "feat-search",
    "project_id": "0f6ef0f1-6f0b-4b4e-9d60-3a0c4f0b8f11",
    "project_name": "flow-engine",
}


class ActivityWorktree(Data):
    """Where an agent was at work."""

    worktree_id: UUID
    """The worktree."""
    worktree_name: str | None
    """Its name."""
    project_id: UUID | None
    """Its project."""
    project_name: str | None
    """Name of its project."""


class Activity(Data):
    """What an agent did; never changed afterwards."""

    activity_id: UUID
    """Id of the entry."""
    agent_id: str
    """Who did it."""
    activity_type: ActivityType
    """What kind of thing it was."""
    file_path: str | None
    """The file it was done to, if it was one."""
    description: str
    """What was done, in words."""
    metadata: dict[str, Any]
    """Whatever the agent adds."""
    created_at: Time
    """When it was logged."""


class ActivityLogged(Activity, ActivityWorktree, Registration):
    """An agent logged what it did."""

    model_config = example(_ACTIVITY | _ACTIVITY_WORKTREE)
    changed: NoChanges
    """Empty."""


class ActivityLoggedV2(Activity, Registration):
    """An agent logged what it did; the worktree is an object of its own."""

    model_config = example(_ACTIVITY, worktree=_ACTIVITY_WORKTREE)
    worktree: ActivityWorktree
    """Where it was done."""
    changed: NoChanges
    """Empty."""


def activity_logged_v2(data: dict[str, Any]) -> dict[str, Any]:
    """The data of `activity.logged` version 1 as version 2 says it."""
    of_worktree = ActivityWorktree.model_fields.keys()
    converted: dict[str, Any] = {key: value for key, value in data.items() if key not in of_worktree}
    converted["worktree"] = {key: data[key] for key in of_worktree}
    return converted
