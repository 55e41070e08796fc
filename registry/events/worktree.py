"""Events of worktrees."""

from __future__ import annotations

from typing import Any, Literal, Required
from uuid import UUID

from pydantic import NonNegativeInt

from registry.events.base import BEFORE, Changes, Data, NoChanges, Registration, example
from registry.validation.time import Time

WorktreeStatus = Literal["uncommitted", "ahead", "behind", "diverged", "clean"]

_WORKTREE = {
    "worktree_id": "9a7e6c1e-0d52-4f5e-8a5b-3a1d2b6f7c10",
    "project_id": "0f6ef0f1-6f0b-4b4e-9d60-3a0c4f0b8f11",
    "project_name": "flow-engine",
    "remote_origin": "git@github.com:33god/flow-engine.git",
    "type_id": 1,
    "type": "feat",
    "name": "feat-search",
    "branch_name": "feat/search",
    "path": "/code/flow-engine/feat-search",
    "host_id": "4c1f0a52-7c55-4a0e-9d43-2b1f6f0a7e21",
    "agent_id": "agent-1",
    "has_uncommitted_changes": True,
    "uncommitted_files_count": 3,
    "ahead_of_trunk": 2,
    "behind_trunk": 0,
    "status": "uncommitted",
    "last_commit_hash": "4bf92f3577b34da6a3ce929d0e0e4736aabbccdd",
    "last_commit_message": "Search: first results",
    "last_sync_at": "2026-01-21T10:00:00.123456+00:00",
    "merged_at": None,
    "merged_by": None,
    "merge_commit_hash": None,
    "metadata": {},
    "active": True,
    "created_at": "2026-01-21T08:00:00+00:00",
    "updated_at": "2026-01-21T10:00:00.123456+00:00",
}
_UNCLAIMED = _WORKTREE | {"agent_id": None}
_MERGED = _UNCLAIMED | {
    "merged_at": "2026-01-21T10:00:00.123456+00:00",
    "merged_by": "agent-1",
    "merge_commit_hash": "00f067aa0ba902b74bf92f3577b34da6a3ce929d",
    "active": False,
}


class Worktree(Data):
    """A worktree: one checkout of a project's branch, with the git state that was last reported."""

    worktree_id: UUID
    """Id of the worktree."""
    project_id: UUID
    """Its project."""
    project_name: str | None
    """Name of its project."""
    remote_origin: str | None
    """Origin of its project."""
    type_id: int
    """Its type: `type_id` of worktree_type events."""
    type: str | None
    """Name of its type: feat, fix …"""
    name: str
    """Name, unique within the project."""
    branch_name: str
    """The branch that is checked out."""
    path: str
    """Folder of the checkout."""
    host_id: UUID | None = None
    """The host that `path` is on; left out for the default one."""
    agent_id: str | None
    """The agent that claimed it; null when nobody did."""
    has_uncommitted_changes: bool
    """Same as `uncommitted_files_count` > 0."""
    uncommitted_files_count: NonNegativeInt
    """Files with changes that are not committed."""
    ahead_of_trunk: NonNegativeInt
    """Commits that the default branch does not have."""
    behind_trunk: NonNegativeInt
    """Commits of the default branch that it does not have."""
    status: WorktreeStatus
    """The three above in one word; uncommitted wins."""
    last_commit_hash: str | None
    """Its last commit."""
    last_commit_message: str | None
    """Message of its last commit."""
    last_sync_at: Time | None
    """When its git state was reported last."""
    merged_at: Time | None
    """When it was merged; a merged worktree is never active."""
    merged_by: str | None
    """Who merged it."""
    merge_commit_hash: str | None
    """The commit of the merge."""
    metadata: dict[str, Any]
    """Whatever its owner keeps there."""
    active: bool
    """False once it is merged or removed."""
    created_at: Time
    """When it was registered."""
    updated_at: Time
    """When the row changed last."""


class WorktreeTimes(Changes, total=False):
    """Times that go along with the first event of a change."""

    updated_at: Time
    last_sync_at: Time | None


class MergeChanges(WorktreeTimes, total=False):
    """Previous values of what a merge writes."""

    merged_at: Time | None
    merged_by: str | None
    merge_commit_hash: str | None


class WorktreeChanges(MergeChanges, total=False):
    """Previous values; those of a merge when they were corrected afterwards."""

    project_id: UUID
    type_id: int
    name: str
    branch_name: str
    path: str
    host_id: UUID | None
    metadata: dict[str, Any]
    created_at: Time


class AgentChanges(WorktreeTimes, total=False):
    """Whose worktree it was before."""

    agent_id: Required[str | None]


class GitStateChanges(WorktreeTimes, total=False):
    """Previous git state."""

    has_uncommitted_changes: bool
    uncommitted_files_count: NonNegativeInt
    ahead_of_trunk: NonNegativeInt
    behind_trunk: NonNegativeInt
    last_commit_hash: str | None
    last_commit_message: str | None


class WorktreeMergedChanges(MergeChanges, total=False):
    """What was there before the merge; `active` where the merge also closed it."""

    active: bool


class WorktreeRemovedChanges(WorktreeTimes, total=False):
    """`active` before."""

    active: Required[bool]


class WorktreeReactivatedChanges(MergeChanges, total=False):
    """`active` before, and the merge that was undone by it."""

    active: Required[bool]


class WorktreeCreated(Worktree, Registration):
    """A worktree is new in the registry."""

    model_config = example(_UNCLAIMED)
    changed: NoChanges
    """Empty."""


class WorktreeUpdated(Worktree):
    """Columns of a worktree changed that no other event reports."""

    model_config = example(_WORKTREE, {"metadata": {"draft": True}, "updated_at": BEFORE})
    changed: WorktreeChanges
    """Previous values."""


class WorktreeGitStateUpdated(Worktree):
    """The git state of a worktree changed."""

    model_config = example(
        _WORKTREE, {"has_uncommitted_changes": False, "uncommitted_files_count": 0, "last_sync_at": None}
    )
    changed: GitStateChanges
    """Previous values."""


class WorktreeClaimed(Worktree):
    """An agent claimed a worktree, or took it over from another one."""

    model_config = example(_WORKTREE, {"agent_id": None, "updated_at": BEFORE})
    changed: AgentChanges
    """Previous values."""


class WorktreeReleased(Worktree):
    """An agent gave a worktree back."""

    model_config = example(_UNCLAIMED, {"agent_id": "agent-1", "updated_at": BEFORE})
    changed: AgentChanges
    """Previous values."""


class WorktreeMerged(Worktree):
    """A worktree was merged."""

    model_config = example(_MERGED, {"merged_at": None, "merged_by": None, "merge_commit_hash": None, "active": True})
    changed: WorktreeMergedChanges
    """Previous values."""


class WorktreeRemoved(Worktree):
    """A worktree was closed without being merged; its row stays."""

    model_config = example(_UNCLAIMED, {"active": True, "updated_at": BEFORE}, active=False)
    changed: WorktreeRemovedChanges
    """Previous values."""


class WorktreeReactivated(Worktree):
    """A merged or removed worktree is in use again."""

    model_config = example(_UNCLAIMED, {"active": False, "updated_at": BEFORE})
    changed: WorktreeReactivatedChanges
    """Previous values."""


class WorktreeDeleted(Worktree):
    """The row of a worktree was deleted; the data is what it was."""

    model_config = example(_MERGED)
    changed: NoChanges
    """Empty."""
