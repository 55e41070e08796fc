"""What agents did, as tables and functions return it."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import computed_field

from registry.models.row import Row
from registry.validation.time import Time

ActivityType = Literal[
    "created", "modified", "deleted", "committed", "pushed", "merged", "synced", "claimed", "released", "other"
]


class AgentWork(Row):
    """What `get_agent_recent_work` returns; the names are None only where the worktree's own history is gone."""

    activity_id: UUID
    activity_type: ActivityType
    description: str
    file_path: str | None
    created_at: Time
    worktree_name: str | None
    project_name: str | None
    worktree_type: str | None


class Activity(Row):
    """A row of `agent_activities`, with the names of where it happened."""

    id: UUID
    """Id of the activity."""
    agent_id: str
    """The agent that did it."""
    worktree_id: UUID
    """Where it was done; it may be deleted since."""
    activity_type: ActivityType
    """Kind of activity."""
    file_path: str | None
    """The file it was done to."""
    description: str
    """What was done."""
    metadata: dict[str, Any]
    """Whatever the agent keeps there."""
    created_at: Time
    """When it was logged."""
    worktree_name: str | None
    """Name of the worktree; null where its own history is gone."""
    project_id: UUID | None = None
    """Its project; null where its own history is gone, and from an older publisher."""
    project_name: str | None
    """Name of its project; null where its own history is gone."""
    is_shortened: bool = False
    """Whether it is too large to be told whole: then metadata is empty, and of a long text there is the beginning."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def activity_id(self) -> UUID:
        """Id of the activity, as events call it."""
        return self.id
