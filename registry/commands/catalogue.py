"""The command catalogue: what a component can ask the registry to do, and with which data."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)

from registry import exact
from registry.commands.envelope import PROJECT_ID
from registry.errors import Invalid
from registry.validation import NOT_BLANK, ONE_WORD, check_text, from_validation, not_too_deep, printable

Text = Annotated[str, Field(pattern=NOT_BLANK)]
Count = Annotated[StrictInt, Field(ge=0, le=2_147_483_647)]
HostName = Annotated[
    Text | None, Field(description="Name of the host that paths are of; left out, none is named: docs/hosts.md.")
]
Metadata = Annotated[dict[str, Any], AfterValidator(not_too_deep)]

WORKTREE_ID = "b2a7c1de-0f57-4d7e-8a55-5e2f4f4f9c10"


class CommandData(BaseModel):
    """What a command is about. A field that is not named here is refused; one left out keeps its value."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


PROJECT = ("project_id", "remote_origin")
WORKTREE = ("worktree_id", "path")
"""Names of a project or worktree that is there; a command on one has exactly one of them."""


def _example(*names: str, **data: Any) -> ConfigDict:
    """The configuration of a model with one example, and the rule that exactly one of `names` is given."""
    extra: dict[str, Any] = {"examples": [data]}
    if names:
        extra["oneOf"] = [{"properties": {name: {"type": "string"}}, "required": [name]} for name in names]
    return ConfigDict(json_schema_extra=extra)


class ProjectCommand(CommandData):
    """A command on a project that is there, named by its id or by its origin."""

    project_id: UUID | None = Field(default=None, description="Id of the project; this or remote_origin.")
    remote_origin: Text | None = Field(
        default=None, description="GitHub origin of the project, in any form; this or project_id."
    )

    @model_validator(mode="after")
    def _has_one_name(self) -> Self:
        if (self.project_id is None) == (self.remote_origin is None):
            raise ValueError("name the project by exactly one of project_id and remote_origin")
        return self


class WorktreeCommand(CommandData):
    """A command on a worktree that is there, named by its id or, while it is active, by its path."""

    worktree_id: UUID | None = Field(default=None, description="Id of the worktree; this or path.")
    path: Text | None = Field(default=None, description="Path of the active worktree; this or worktree_id.")
    host: HostName = None

    @model_validator(mode="after")
    def _has_one_name(self) -> Self:
        if (self.worktree_id is None) == (self.path is None):
            raise ValueError("name the worktree by exactly one of worktree_id and path")
        return self


class RegisterProject(CommandData):
    """Register a project: create it, take it up again, or update what differs."""

    model_config = _example(
        name="imi", remote_origin="git@github.com:33god/imi.git", default_branch="main", metadata={"team": "core"}
    )

    name: Text = Field(description="Name of the project.")
    remote_origin: Text = Field(description="GitHub origin in any ssh, https or git form; the project's key.")
    default_branch: Text = Field(default="main", description="Branch of the trunk.")
    trunk_path: Text | None = Field(default=None, description="Path of the trunk checkout; derived when left out.")
    derived_id: StrictBool | None = Field(
        default=None,
        description="Whether a new project gets the id that follows from its origin; left out, as the registry is set.",
    )
    host: HostName = None
    metadata: Metadata = Field(default={}, description="Merged into the metadata that is there, key by key.")


class UpdateProject(ProjectCommand):
    """Change attributes of a project."""

    model_config = _example(*PROJECT, project_id=PROJECT_ID, description="Worktree manager", metadata={"team": "core"})

    name: Text | None = Field(default=None, description="New name.")
    default_branch: Text | None = Field(default=None, description="New branch of the trunk.")
    trunk_path: Text | None = Field(default=None, description="New path of the trunk checkout.")
    host: HostName = None
    description: str | None = Field(default=None, description="New description.")
    metadata: Metadata | None = Field(default=None, description="Merged into the metadata that is there, key by key.")


class DeactivateProject(ProjectCommand):
    """Deactivate a project, and its worktrees with it. Registering it again takes it up again."""

    model_config = _example(*PROJECT, remote_origin="git@github.com:33god/imi.git")


class RegisterWorktree(ProjectCommand):
    """Register a worktree of a project: create it, take it up again, or update what differs."""

    model_config = _example(
        *PROJECT,
        project_id=PROJECT_ID,
        type_name="feat",
        name="feat-login",
        branch_name="feat/login",
        path="/home/ada/code/imi/feat-login",
        agent_id="ada",
    )

    type_name: Text = Field(description="Worktree type: feat, fix, review …; pr means review.")
    name: Text = Field(description="Name of the worktree, unique in its project.")
    branch_name: Text = Field(description="Git branch.")
    path: Text = Field(description="Path of the checkout, unique among active worktrees of its host.")
    host: HostName = None
    agent_id: Text | None = Field(default=None, description="Agent that claims it.")
    metadata: Metadata = Field(default={}, description="Merged into the metadata that is there, key by key.")


class UpdateWorktree(WorktreeCommand):
    """Change attributes of a worktree."""

    model_config = _example(*WORKTREE, worktree_id=WORKTREE_ID, branch_name="feat/sign-in", metadata={"ticket": 17})

    name: Text | None = Field(default=None, description="New name, unique in its project.")
    branch_name: Text | None = Field(default=None, description="New git branch.")
    new_path: Text | None = Field(default=None, description="New path of the checkout, unique among active worktrees.")
    type_name: Text | None = Field(default=None, description="New worktree type.")
    metadata: Metadata | None = Field(default=None, description="Merged into the metadata that is there, key by key.")


class UpdateGitState(WorktreeCommand):
    """Store what git says about a worktree."""

    model_config = _example(
        *WORKTREE,
        worktree_id=WORKTREE_ID,
        uncommitted_count=2,
        ahead=3,
        behind=0,
        last_commit_hash="4f2d1c9",
        last_commit_message="Add login form",
    )

    has_uncommitted: StrictBool | None = Field(default=None, description="Whether files are changed and not committed.")
    uncommitted_count: Count | None = Field(default=None, description="How many files that are.")
    ahead: Count | None = Field(default=None, description="Commits the trunk does not have.")
    behind: Count | None = Field(default=None, description="Commits of the trunk it does not have.")
    last_commit_hash: str | None = Field(default=None, description="Hash of the last commit; empty: there is none.")
    last_commit_message: str | None = Field(default=None, description="First line of its message.")


class ClaimWorktree(WorktreeCommand):
    """Claim a worktree for an agent; one that another agent holds is a conflict."""

    model_config = _example(*WORKTREE, worktree_id=WORKTREE_ID, agent_id="ada")

    agent_id: Text = Field(description="Agent that claims it.")


class ReleaseWorktree(WorktreeCommand):
    """Release a claimed worktree."""

    model_config = _example(*WORKTREE, worktree_id=WORKTREE_ID, agent_id="ada")

    agent_id: Text | None = Field(
        default=None, description="Agent that must hold it, else it is a conflict; left out, whoever holds it."
    )


class MergeWorktree(WorktreeCommand):
    """Record the merge of a worktree, which also deactivates it."""

    model_config = _example(*WORKTREE, worktree_id=WORKTREE_ID, merged_by="ada", merge_commit_hash="9e107d9d372bb682")

    merged_by: Text = Field(description="Who merged it.")
    merge_commit_hash: Text = Field(description="Hash of the merge commit.")


class RemoveWorktree(WorktreeCommand):
    """Deactivate a worktree whose checkout is gone."""

    model_config = _example(*WORKTREE, path="/home/ada/code/imi/feat-login")


class AddWorktreeType(CommandData):
    """Add a worktree type."""

    model_config = _example(name="docs", description="Documentation", color="#0EA5E9")

    name: Annotated[str, Field(pattern=ONE_WORD)] = Field(description="Name of the type, without spaces.")
    branch_prefix: str | None = Field(default=None, description="Prefix of branches; NAME/ when left out.")
    worktree_prefix: Text | None = Field(default=None, description="Prefix of worktree names; NAME- when left out.")
    description: str | None = Field(default=None, description="What such worktrees are for.")
    color: str | None = Field(default=None, description="Colour for displays; #6B7280 when left out.")
    icon: str | None = Field(default=None, description="Icon for displays.")
    metadata: Metadata = Field(default={}, description="Anything else.")


class RemoveWorktreeType(CommandData):
    """Remove a worktree type that is not built in and that no worktree has."""

    model_config = _example(name="docs")

    name: Text = Field(description="Name of the type.")


class LogActivity(WorktreeCommand):
    """Append to the audit log what an agent did in a worktree."""

    model_config = _example(
        *WORKTREE,
        agent_id="ada",
        worktree_id=WORKTREE_ID,
        activity_type="committed",
        description="Add login form",
        file_path="src/login.py",
    )

    agent_id: Text = Field(description="Agent that did it.")
    activity_type: Literal[
        "created", "modified", "deleted", "committed", "pushed", "merged", "synced", "claimed", "released", "other"
    ] = Field(description="Kind of activity.")
    description: str = Field(description="What was done.")
    file_path: str | None = Field(default=None, description="File it was done to.")
    metadata: Metadata = Field(default={}, description="Anything else.")


COMMANDS: dict[str, type[CommandData]] = {
    "project.register": RegisterProject,
    "project.update": UpdateProject,
    "project.deactivate": DeactivateProject,
    "worktree.register": RegisterWorktree,
    "worktree.update": UpdateWorktree,
    "worktree.update_git_state": UpdateGitState,
    "worktree.claim": ClaimWorktree,
    "worktree.release": ReleaseWorktree,
    "worktree.merge": MergeWorktree,
    "worktree.remove": RemoveWorktree,
    "worktree_type.add": AddWorktreeType,
    "worktree_type.remove": RemoveWorktreeType,
    "activity.log": LogActivity,
}
"""Name of each command, `<entity>.<verb>`, to the model of its data."""


def validated(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """`data` of the command `name` with only the fields that were given, as JSON values. Raises `Invalid`.

    Numbers in metadata keep their digits (`registry/exact.py`).
    """
    model = COMMANDS.get(name)
    if model is None:
        raise Invalid(f"command {printable(name)} is none of {', '.join(COMMANDS)}")
    try:
        given = model.model_validate(data)
        fields = given.model_dump(mode="json", exclude_unset=True, exclude={"metadata"})
    except ValidationError as error:
        raise from_validation(error, name) from None
    except ValueError:
        raise Invalid(f"{name}: data is nested too deep") from None
    for field, value in fields.items():
        if isinstance(value, str):
            check_text(value, f"{name}: {field}")
    if "metadata" in given.model_fields_set:
        fields["metadata"] = exact.checked(getattr(given, "metadata", None), f"{name}: metadata")
    return fields
