"""Worktrees and their types, as tables and functions return them."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import computed_field

from registry.models.host import DEFAULT_HOST
from registry.models.row import Row
from registry.validation.time import Time

Status = Literal["uncommitted", "ahead", "behind", "diverged", "clean"]


class WorktreeType(Row):
    """A kind of worktree: a row of `worktree_types`."""

    id: int
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
    """Colour for displays."""
    icon: str | None
    """Icon for displays."""
    metadata: dict[str, Any]
    """Whatever its owner keeps there."""
    created_at: Time
    """When it was added."""
    is_shortened: bool = False
    """Whether it is too large to be told whole: then metadata is empty, and of a long text there is the beginning."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def type_id(self) -> int:
        """Id of the type, as events call it."""
        return self.id


class LocatedWorktree(Row):
    """The active worktree at a path, as `get_worktree_by_path` returns it."""

    id: UUID
    """Id of the worktree."""
    project_id: UUID
    """Its project."""
    project_name: str
    """Name of its project."""
    worktree_name: str
    """Name, unique within the project."""
    branch_name: str
    """The branch that is checked out."""
    type_name: str
    """Name of its type."""
    agent_id: str | None
    """The agent that claimed it; null when nobody did."""
    active: bool
    """Always true."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def worktree_id(self) -> UUID:
        """Id of the worktree, as events call it."""
        return self.id

    @computed_field  # type: ignore[prop-decorator]
    @property
    def name(self) -> str:
        """Name of the worktree, as events call it."""
        return self.worktree_name

    @computed_field  # type: ignore[prop-decorator]
    @property
    def type(self) -> str:
        """Name of its type, as events call it."""
        return self.type_name


class Worktree(Row):
    """A row of `worktrees`, with the names of its project and type, and its status."""

    id: UUID
    """Id of the worktree."""
    project_id: UUID
    """Its project."""
    project_name: str
    """Name of its project."""
    type_id: int
    """Its type: `type_id` of worktree_type events."""
    type_name: str
    """Name of its type: feat, fix …"""
    name: str
    """Name, unique within the project."""
    branch_name: str
    """The branch that is checked out."""
    path: str
    """Folder of the checkout."""
    agent_id: str | None
    """The agent that claimed it; null when nobody did."""
    status: Status
    """The three counts in one word; uncommitted wins."""
    has_uncommitted_changes: bool
    """Same as `uncommitted_files_count` > 0."""
    uncommitted_files_count: int
    """Files with changes that are not committed."""
    ahead_of_trunk: int
    """Commits that the default branch does not have."""
    behind_trunk: int
    """Commits of the default branch that it does not have."""
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
    created_at: Time
    """When it was registered."""
    updated_at: Time
    """When the row changed last."""
    active: bool
    """False once it is merged or removed."""
    host_id: UUID = DEFAULT_HOST
    """The host that `path` is on; an older publisher leaves it out."""
    is_shortened: bool = False
    """Whether it is too large to be told whole: then metadata is empty, and of a long text there is the beginning."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def worktree_id(self) -> UUID:
        """Id of the worktree, as events call it."""
        return self.id

    @computed_field  # type: ignore[prop-decorator]
    @property
    def type(self) -> str:
        """Name of its type, as events call it."""
        return self.type_name


class InflightWork(Row):
    """A worktree with uncommitted or unmerged work, as `get_inflight_work` returns it."""

    worktree_id: UUID
    """Id of the worktree."""
    worktree_name: str
    """Name, unique within its project."""
    branch_name: str
    """The branch that is checked out."""
    status: Status
    """The three counts in one word; uncommitted wins."""
    uncommitted_count: int
    """Files with changes that are not committed."""
    ahead: int
    """Commits that the default branch does not have."""
    behind: int
    """Commits of the default branch that it does not have."""
    agent_id: str | None
    """The agent that claimed it; null when nobody did."""
    last_activity: Time
    """When something was last done there."""


class ProjectInflightWork(InflightWork):
    """A worktree with uncommitted or unmerged work, and its project."""

    project_id: UUID | None = None
    """Its project; an older publisher leaves it out."""
    project_name: str | None = None
    """Name of its project; an older publisher leaves it out."""
    host_id: UUID = DEFAULT_HOST
    """The host it is on; an older publisher leaves it out."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def name(self) -> str:
        """Name of the worktree, as events call it."""
        return self.worktree_name

    @computed_field  # type: ignore[prop-decorator]
    @property
    def uncommitted_files_count(self) -> int:
        """Files with changes that are not committed, as events call it."""
        return self.uncommitted_count

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ahead_of_trunk(self) -> int:
        """Commits that the default branch does not have, as events call it."""
        return self.ahead

    @computed_field  # type: ignore[prop-decorator]
    @property
    def behind_trunk(self) -> int:
        """Commits of the default branch that it does not have, as events call it."""
        return self.behind
