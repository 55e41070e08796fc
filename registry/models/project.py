"""Projects, as tables and functions return them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import computed_field

from registry.models.row import Row
from registry.validation.time import Time


class LocatedProject(Row):
    """A project, as `get_project_by_origin` returns it."""

    id: UUID
    """Id of the project."""
    name: str
    """Name of the project."""
    remote_origin: str
    """Always git@github.com:owner/repo.git, in lower case."""
    default_branch: str
    """The branch that worktrees are merged into."""
    trunk_path: str
    """Folder of the trunk checkout, without trailing slash."""
    active: bool
    """False after a soft delete."""
    created_at: Time
    """When it was first registered."""
    updated_at: Time
    """When the row changed last."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def project_id(self) -> UUID:
        """Id of the project, as events call it."""
        return self.id

    @computed_field  # type: ignore[prop-decorator]
    @property
    def project_name(self) -> str:
        """Name of the project, as events call it."""
        return self.name


class Project(LocatedProject):
    """A project: a row of `projects`."""

    description: str | None
    """Words for people."""
    metadata: dict[str, Any]
    """Whatever its owner keeps there."""
    is_shortened: bool = False
    """Whether it is too large to be told whole: then metadata is empty, and of a long text there is the beginning."""


class ProjectMatch(Row):
    """A project that `search_projects` found."""

    id: UUID
    """Id of the project."""
    name: str
    """Name of the project."""
    remote_origin: str
    """Always git@github.com:owner/repo.git, in lower case."""
    trunk_path: str
    """Folder of the trunk checkout, without trailing slash."""
    relevance: float
    """How well it matches, 0 to 1."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def project_id(self) -> UUID:
        """Id of the project, as events call it."""
        return self.id

    @computed_field  # type: ignore[prop-decorator]
    @property
    def project_name(self) -> str:
        """Name of the project, as events call it."""
        return self.name
