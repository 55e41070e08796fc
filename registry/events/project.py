"""Events of projects."""

from __future__ import annotations

from typing import Any, Required
from uuid import UUID

from registry.events.base import BEFORE, Changes, Data, NoChanges, Registration, example
from registry.validation.time import Time

_PROJECT = {
    "project_id": "0f6ef0f1-6f0b-4b4e-9d60-3a0c4f0b8f11",
    "project_name": "flow-engine",
    "name": "flow-engine",
    "remote_origin": "git@github.com:33god/flow-engine.git",
    "default_branch": "main",
    "trunk_path": "/code/flow-engine/trunk-main",
    "description": None,
    "metadata": {"team": "core"},
    "active": True,
    "created_at": "2026-01-21T08:00:00+00:00",
    "updated_at": "2026-01-21T10:00:00.123456+00:00",
}
_LOSER = _PROJECT | {"project_id": "a4a7c2f0-5a37-4b5c-8a55-2f2f4f4f9c10", "trunk_path": "/srv/flow-engine/trunk-main"}


class Project(Data):
    """A project: one repository on GitHub."""

    project_id: UUID
    """Id of the project."""
    project_name: str
    """Same as `name`; the field in which every event with a project has its name."""
    name: str
    """Name of the project."""
    remote_origin: str
    """Always git@github.com:owner/repo.git, in lower case; unique over all projects."""
    default_branch: str
    """The branch that worktrees are merged into."""
    trunk_path: str
    """Folder of the trunk checkout, without trailing slash."""
    description: str | None
    """Words for people."""
    metadata: dict[str, Any]
    """Whatever its owner keeps there."""
    active: bool
    """False after a soft delete."""
    created_at: Time
    """When it was first registered."""
    updated_at: Time
    """When the row changed last."""


class ProjectChanges(Changes, total=False):
    """Previous values of the columns that changed."""

    name: str
    remote_origin: str
    default_branch: str
    trunk_path: str
    description: str | None
    metadata: dict[str, Any]
    created_at: Time
    updated_at: Time


class ProjectActivityChanges(Changes, total=False):
    """`active` before, and `updated_at` where this is the first event of the change."""

    active: Required[bool]
    updated_at: Time


class ProjectRegistered(Project, Registration):
    """A project is new in the registry."""

    model_config = example(_PROJECT)
    changed: NoChanges
    """Empty."""


class ProjectUpdated(Project):
    """Columns of a project changed."""

    model_config = example(_PROJECT, {"default_branch": "master", "updated_at": BEFORE})
    changed: ProjectChanges
    """Previous values."""


class ProjectDeactivated(Project):
    """A project was deactivated (soft delete), behind the `worktree.removed` of each of its worktrees."""

    model_config = example(_PROJECT, {"active": True, "updated_at": BEFORE}, active=False)
    changed: ProjectActivityChanges
    """Previous values."""


class ProjectReactivated(Project):
    """A deactivated project is in use again."""

    model_config = example(_PROJECT, {"active": False, "updated_at": BEFORE})
    changed: ProjectActivityChanges
    """Previous values."""


class FormerProject(Project):
    """A project as it was under the id that means another one now."""

    model_config = example(_LOSER)


class ProjectMerged(Project):
    """Two ids of a project became one: the data is the project that goes on, `loser` what the other id was.

    A `worktree.updated` for each worktree of the loser follows, and `project.deleted` of the id that is no more.
    """

    model_config = example(_PROJECT, loser=_LOSER)
    loser: FormerProject
    """The project under the id that means this one from now on."""
    changed: NoChanges
    """Empty."""


class ProjectDeleted(Project):
    """The row of a project was deleted; the data is what it was."""

    model_config = example(_PROJECT, active=False)
    changed: NoChanges
    """Empty."""
