"""Events of places: on which hosts a project is, beside its home when that is the default host."""

from __future__ import annotations

from uuid import UUID

from registry.events.base import Changes, Data, NoChanges, Registration, example
from registry.validation.time import Time

_PLACE = {
    "project_id": "0f6ef0f1-6f0b-4b4e-9d60-3a0c4f0b8f11",
    "project_name": "flow-engine",
    "remote_origin": "git@github.com:33god/flow-engine.git",
    "host_id": "4c1f0a52-7c55-4a0e-9d43-2b1f6f0a7e21",
    "host": "server",
    "trunk_path": "/srv/flow-engine/trunk-main",
    "is_home": False,
    "created_at": "2026-01-21T08:00:00+00:00",
    "updated_at": "2026-01-21T10:00:00.123456+00:00",
}


class ProjectHost(Data):
    """Where a project is on a host. A project without one that is its home has the default host for that."""

    project_id: UUID
    """The project."""
    project_name: str
    """Name of the project."""
    remote_origin: str
    """Its origin."""
    host_id: UUID
    """The host."""
    host: str | None
    """Name of the host."""
    trunk_path: str
    """Folder of the trunk checkout there."""
    is_home: bool
    """Whether it is the host of `trunk_path` of the project itself, whose events tell of that path."""
    created_at: Time
    """When the project was registered from there."""
    updated_at: Time
    """When the row changed last."""


class ProjectHostChanges(Changes, total=False):
    """Previous values of the columns that changed."""

    trunk_path: str
    created_at: Time


class ProjectHostAdded(ProjectHost, Registration):
    """A project is on one more host."""

    model_config = example(_PLACE)
    changed: NoChanges
    """Empty."""


class ProjectHostUpdated(ProjectHost):
    """The trunk of a project is elsewhere on a host that is not its home."""

    model_config = example(_PLACE, {"trunk_path": "/home/ada/flow-engine/trunk-main"})
    changed: ProjectHostChanges
    """Previous values."""


class ProjectHostRemoved(ProjectHost):
    """A project is no longer on a host. Where the project itself is deleted, that alone is told."""

    model_config = example(_PLACE)
    changed: NoChanges
    """Empty."""
