"""Hosts, and where projects are on them, as tables return them."""

from __future__ import annotations

from uuid import UUID

from pydantic import computed_field

from registry.models.row import Row
from registry.validation.time import Time

DEFAULT_HOST = UUID(int=0)
"""The host of whoever names none, and of all that is older than hosts."""


class Host(Row):
    """A machine, or whatever has a file system of its own: a row of `hosts`."""

    id: UUID
    """Id of the host; all zeros for the default one."""
    name: str
    """Name, unique, in lower case."""
    former_names: list[str]
    """Names it had before; one who still uses such a name means this host."""
    description: str | None
    """Words for people."""
    created_at: Time
    """When it was registered."""
    updated_at: Time
    """When the row changed last."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def host_id(self) -> UUID:
        """Id of the host, as events call it."""
        return self.id


class HostCounts(Host):
    """A host, and how much is on it."""

    is_introduced: bool
    """Whether it is known which machine it is: another one of the same name is refused then."""
    projects: int
    """Active projects that are there."""
    worktrees: int
    """Active worktrees."""
    in_flight: int
    """Those with uncommitted or unmerged work."""


class ProjectHost(Row):
    """Where a project is on a host: a row of `v_project_hosts`."""

    project_id: UUID
    """The project."""
    project_name: str
    """Name of the project."""
    remote_origin: str
    """Its origin."""
    host_id: UUID
    """The host."""
    host_name: str
    """Name of the host."""
    trunk_path: str
    """Folder of the trunk checkout there."""
    is_home: bool
    """Whether it is the host of `trunk_path` of the project itself."""
