"""What the `data` of each event holds: the row after the change, joined names, and what changed.

These models are the source of the schemas under `schemas/events`. Readers ignore fields they do not know, so that
adding a field breaks nobody; the triggers of `migrations/003_outbox.sql` write exactly these fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic refuses the one of typing before Python 3.12

Count = Annotated[int, Field(ge=0, le=2_147_483_647)]
Serial = Annotated[int, Field(ge=-2_147_483_648, le=2_147_483_647)]
Status = Literal["uncommitted", "ahead", "behind", "diverged", "clean"]


class EventData(BaseModel):
    """Data of an event: never changed by a reader, and open to fields of later versions."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ProjectChanges(TypedDict, total=False):
    """Columns of a project that this event reports, with their values before it."""

    name: Annotated[str, Field(description="Previous name.")]
    remote_origin: Annotated[str, Field(description="Previous remote origin.")]
    default_branch: Annotated[str, Field(description="Previous default branch.")]
    trunk_path: Annotated[str, Field(description="Previous trunk path.")]
    description: Annotated[str | None, Field(description="Previous description; null when there was none.")]
    metadata: Annotated[dict[str, Any], Field(description="Previous metadata, whole.")]
    active: Annotated[bool, Field(description="Whether the project was active.")]
    created_at: Annotated[AwareDatetime, Field(description="Previous time of registration.")]
    updated_at: Annotated[AwareDatetime, Field(description="When the row was changed before.")]


class WorktreeChanges(TypedDict, total=False):
    """Columns of a worktree that this event reports, with their values before it."""

    project_id: Annotated[UUID, Field(description="The project the worktree belonged to.")]
    type_id: Annotated[Serial, Field(description="Previous type.")]
    name: Annotated[str, Field(description="Previous name.")]
    branch_name: Annotated[str, Field(description="Previous branch.")]
    path: Annotated[str, Field(description="Previous path.")]
    agent_id: Annotated[str | None, Field(description="The agent that had claimed it; null when none had.")]
    has_uncommitted_changes: Annotated[bool, Field(description="Whether there were uncommitted changes.")]
    uncommitted_files_count: Annotated[Count, Field(description="Previous number of uncommitted files.")]
    ahead_of_trunk: Annotated[Count, Field(description="Previous number of commits ahead of the trunk.")]
    behind_trunk: Annotated[Count, Field(description="Previous number of commits behind the trunk.")]
    last_commit_hash: Annotated[str | None, Field(description="Previous last commit; null when unknown.")]
    last_commit_message: Annotated[str | None, Field(description="Previous last commit's message; null when unknown.")]
    last_sync_at: Annotated[AwareDatetime | None, Field(description="When git was read before; null when never.")]
    merged_at: Annotated[AwareDatetime | None, Field(description="Previous time of merge; null when not merged.")]
    merged_by: Annotated[str | None, Field(description="Who had merged it; null when nobody.")]
    merge_commit_hash: Annotated[str | None, Field(description="Previous merge commit; null when none.")]
    metadata: Annotated[dict[str, Any], Field(description="Previous metadata, whole.")]
    active: Annotated[bool, Field(description="Whether the worktree was active.")]
    created_at: Annotated[AwareDatetime, Field(description="Previous time of creation.")]
    updated_at: Annotated[AwareDatetime, Field(description="When the row was changed before.")]


class WorktreeTypeChanges(TypedDict, total=False):
    """Columns of a worktree type that this event reports, with their values before it."""

    name: Annotated[str, Field(description="Previous name.")]
    branch_prefix: Annotated[str, Field(description="Previous prefix of branches.")]
    worktree_prefix: Annotated[str, Field(description="Previous prefix of folders.")]
    description: Annotated[str | None, Field(description="Previous description; null when there was none.")]
    is_builtin: Annotated[bool, Field(description="Whether the type was a built-in one.")]
    color: Annotated[str | None, Field(description="Previous colour; null when there was none.")]
    icon: Annotated[str | None, Field(description="Previous icon; null when there was none.")]
    metadata: Annotated[dict[str, Any], Field(description="Previous metadata, whole.")]
    created_at: Annotated[AwareDatetime, Field(description="Previous time of creation.")]


class ActivityChanges(TypedDict, total=False):
    """Always empty: an activity never changes."""


class ProjectData(EventData):
    """A project: the row after the change, or before it when the project was deleted."""

    project_id: UUID = Field(description="Identity of the project, for ever.")
    project_name: str = Field(description="Same as `name`; every event of a project's things has it under this name.")
    name: str = Field(description="Name for people; not unique.")
    remote_origin: str = Field(description="The one GitHub remote: git@github.com:owner/repo.git, lower case.")
    default_branch: str = Field(description="Branch the trunk follows.")
    trunk_path: str = Field(description="Folder of the trunk's checkout; worktrees are its siblings.")
    description: str | None = Field(description="What the project is; null when not told.")
    metadata: dict[str, Any] = Field(description="Whatever components keep with the project.")
    active: bool = Field(description="False after the project was deactivated.")
    created_at: AwareDatetime = Field(description="When the project was registered.")
    updated_at: AwareDatetime = Field(description="When the row was changed last.")
    changed: ProjectChanges = Field(
        description="Columns this event reports, with their previous values; empty when the row is new or gone."
    )


class WorktreeData(EventData):
    """A worktree: the row after the change, or before it when the worktree was deleted."""

    worktree_id: UUID = Field(description="Identity of the worktree, for ever.")
    project_id: UUID = Field(description="The project it belongs to.")
    project_name: str | None = Field(description="The project's name; null when it went in the same statement.")
    remote_origin: str | None = Field(description="The project's remote; null when it went in the same statement.")
    type_id: Serial = Field(description="Number of the worktree's type in this registry.")
    type: str | None = Field(description="Name of the type, like `feat`; null when it went in the same statement.")
    name: str = Field(description="Name, unique within the project.")
    branch_name: str = Field(description="The git branch checked out there.")
    path: str = Field(description="Folder of the checkout.")
    agent_id: str | None = Field(description="The agent that claims it; null when none does.")
    has_uncommitted_changes: bool = Field(description="Same as: uncommitted_files_count is not 0.")
    uncommitted_files_count: Count = Field(description="Files with uncommitted changes, at the last sync.")
    ahead_of_trunk: Count = Field(description="Commits that the trunk does not have.")
    behind_trunk: Count = Field(description="Commits of the trunk that the branch does not have.")
    status: Status = Field(description="The git state in one word; uncommitted wins over ahead, behind, diverged.")
    last_commit_hash: str | None = Field(description="Last commit of the branch; null when not known.")
    last_commit_message: str | None = Field(description="Its message; null when not known.")
    last_sync_at: AwareDatetime | None = Field(description="When git was read last; null when never.")
    merged_at: AwareDatetime | None = Field(description="When it was merged; null when it is not.")
    merged_by: str | None = Field(description="Who merged it; null when not merged or not told.")
    merge_commit_hash: str | None = Field(description="The merge commit; null when not merged or not told.")
    metadata: dict[str, Any] = Field(description="Whatever components keep with the worktree.")
    active: bool = Field(description="False after the worktree was removed or merged.")
    created_at: AwareDatetime = Field(description="When the worktree was registered.")
    updated_at: AwareDatetime = Field(description="When the row was changed last.")
    changed: WorktreeChanges = Field(
        description="Columns this event reports, with their previous values; empty when the row is new or gone."
    )


class WorktreeClaimedData(WorktreeData):
    """A worktree that an agent claims."""

    agent_id: str = Field(description="The agent that claims it now.")


class WorktreeReleasedData(WorktreeData):
    """A worktree that no agent claims any more."""

    agent_id: None = Field(description="Always null; `changed.agent_id` tells who had it.")


class WorktreeMergedData(WorktreeData):
    """A merged worktree."""

    merged_at: AwareDatetime = Field(description="When it was merged.")


class WorktreeTypeData(EventData):
    """A type of worktrees: the row after the change, or before it when the type was removed."""

    type_id: Serial = Field(description="Number of the type in this registry.")
    name: str = Field(description="Name of the type, like `feat`.")
    branch_prefix: str = Field(description="What the names of its branches start with, like `feat/`; may be empty.")
    worktree_prefix: str = Field(description="What the names of its folders start with, like `feat-`.")
    description: str | None = Field(description="What the type is for; null when not told.")
    is_builtin: bool = Field(description="Built-in types can be neither removed nor renamed.")
    color: str | None = Field(description="Colour for user interfaces, like #10B981; null when none.")
    icon: str | None = Field(description="Icon for user interfaces; null when none.")
    metadata: dict[str, Any] = Field(description="Whatever components keep with the type.")
    created_at: AwareDatetime = Field(description="When the type was added.")
    changed: WorktreeTypeChanges = Field(
        description="Columns this event reports, with their previous values; empty when the row is new or gone."
    )


class ActivityData(EventData):
    """An action of an agent in a worktree, as it is in the audit log for ever."""

    activity_id: UUID = Field(description="Identity of the entry.")
    agent_id: str = Field(description="Who did it.")
    worktree_id: UUID = Field(description="Where.")
    worktree_name: str | None = Field(description="The worktree's name; null when it went in the same statement.")
    project_id: UUID | None = Field(description="The worktree's project; null when it went in the same statement.")
    project_name: str | None = Field(description="The project's name; null when it went in the same statement.")
    activity_type: str = Field(
        description="What was done: created, modified, deleted, committed, pushed, merged, synced, claimed, released "
        "or other. More may be added: treat one you do not know as other."
    )
    file_path: str | None = Field(description="The file it was done to; null when it was not one file.")
    description: str = Field(description="What was done, for people.")
    metadata: dict[str, Any] = Field(description="Whatever the agent wanted to keep with it.")
    created_at: AwareDatetime = Field(description="When it was logged.")
    changed: ActivityChanges = Field(description="Always empty: an activity is never changed.")


class TruncatedData(EventData):
    """A table of the registry that lost all its rows at once; no event was sent for each row."""

    table: str = Field(description="projects, worktrees, worktree_types or agent_activities; more may be added.")


class CommandOutcomeData(EventData):
    """What became of a command."""

    command_id: UUID = Field(description="Id of the command; the same over retries.")
    command: str = Field(description="What was asked for, like project.register.")
    idempotency_key: str | None = Field(description="Key under which repetitions count as one; null when none was given.")
    verdict: Literal["applied", "idempotent", "rejected"] = Field(
        description="applied: something changed; idempotent: everything was so already; rejected: nothing changed."
    )
    code: Literal["VALIDATION_ERROR", "NOT_FOUND", "CONFLICT", "INTERNAL_ERROR"] | None = Field(
        description="Why it was rejected; null when it was not."
    )
    message: str | None = Field(description="The same in words a person can act on; null when it was not rejected.")
    result: dict[str, Any] | None = Field(description="What the command returns; null when it was rejected.")


class CommandAppliedData(CommandOutcomeData):
    """A command that is fulfilled."""

    verdict: Literal["applied", "idempotent"] = Field(
        description="applied: something changed; idempotent: everything was so already."
    )
    code: None = Field(description="Always null: it was not rejected.")


class CommandRejectedData(CommandOutcomeData):
    """A command that changed nothing."""

    verdict: Literal["rejected"] = Field(description="Always rejected.")
    code: Literal["VALIDATION_ERROR", "NOT_FOUND", "CONFLICT", "INTERNAL_ERROR"] = Field(
        description="Why: it is malformed, names something unknown, contradicts what is there, or the registry failed."
    )
    message: str = Field(description="The same in words a person can act on.")
    result: None = Field(description="Always null: nothing was done.")
