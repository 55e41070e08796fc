"""What the registry returns: rows of its tables, and of the functions of the specification.

Field names, types and nullability are those of `migrations/001_create_schema.sql` and `002_functions_and_helpers.sql`.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict

Status = Literal["uncommitted", "ahead", "behind", "diverged", "clean"]
ActivityType = Literal[
    "created", "modified", "deleted", "committed", "pushed", "merged", "synced", "claimed", "released", "other"
]


class Row(BaseModel):
    """A row as it was read; it never changes."""

    model_config = ConfigDict(frozen=True)


class LocatedProject(Row):
    """What `get_project_by_origin` returns."""

    id: UUID
    name: str
    remote_origin: str
    default_branch: str
    trunk_path: str
    active: bool
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Project(LocatedProject):
    """A row of `projects`."""

    description: str | None
    metadata: dict[str, Any]


class ProjectMatch(Row):
    """A project that `search_projects` found; relevance is 0 to 1."""

    id: UUID
    name: str
    remote_origin: str
    trunk_path: str
    relevance: float


class WorktreeType(Row):
    """A row of `worktree_types`."""

    id: int
    name: str
    branch_prefix: str
    worktree_prefix: str
    description: str | None
    is_builtin: bool
    color: str | None
    icon: str | None
    metadata: dict[str, Any]
    created_at: AwareDatetime


class LocatedWorktree(Row):
    """What `get_worktree_by_path` returns: the active worktree at a path."""

    id: UUID
    project_id: UUID
    project_name: str
    worktree_name: str
    branch_name: str
    type_name: str
    agent_id: str | None
    active: bool


class Worktree(Row):
    """A row of `worktrees`, with the names of its project and type, and its status."""

    id: UUID
    project_id: UUID
    project_name: str
    type_id: int
    type_name: str
    name: str
    branch_name: str
    path: str
    agent_id: str | None
    status: Status
    has_uncommitted_changes: bool
    uncommitted_files_count: int
    ahead_of_trunk: int
    behind_trunk: int
    last_commit_hash: str | None
    last_commit_message: str | None
    last_sync_at: AwareDatetime | None
    merged_at: AwareDatetime | None
    merged_by: str | None
    merge_commit_hash: str | None
    metadata: dict[str, Any]
    created_at: AwareDatetime
    updated_at: AwareDatetime
    active: bool


class InflightWork(Row):
    """What `get_inflight_work` returns: a worktree with uncommitted or unmerged work."""

    worktree_id: UUID
    worktree_name: str
    branch_name: str
    status: Status
    uncommitted_count: int
    ahead: int
    behind: int
    agent_id: str | None
    last_activity: AwareDatetime


class AgentWork(Row):
    """What `get_agent_recent_work` returns; the names are None only where the worktree's own history is gone."""

    activity_id: UUID
    activity_type: ActivityType
    description: str
    file_path: str | None
    created_at: AwareDatetime
    worktree_name: str | None
    project_name: str | None
    worktree_type: str | None


class Activity(Row):
    """A row of `agent_activities`, with the names of where it happened."""

    id: UUID
    agent_id: str
    worktree_id: UUID
    activity_type: ActivityType
    file_path: str | None
    description: str
    metadata: dict[str, Any]
    created_at: AwareDatetime
    worktree_name: str | None
    project_name: str | None


class RegistryStats(Row):
    """What `get_registry_stats` returns: counts."""

    total_projects: int
    active_projects: int
    total_worktrees: int
    active_worktrees: int
    in_flight_worktrees: int
    total_activities: int
    activities_last_24h: int
