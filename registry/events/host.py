"""Events of hosts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from registry.events.base import BEFORE, Changes, Data, NoChanges, example
from registry.validation.time import Time

_HOST: dict[str, Any] = {
    "host_id": "4c1f0a52-7c55-4a0e-9d43-2b1f6f0a7e21",
    "name": "server",
    "former_names": [],
    "description": None,
    "created_at": "2026-01-21T08:00:00+00:00",
    "updated_at": "2026-01-21T10:00:00.123456+00:00",
}


class Host(Data):
    """A host: a machine, or whatever has a file system of its own, on which projects are checked out."""

    host_id: UUID
    """Id of the host; all zeros for the default one."""
    name: str
    """Name, unique, in lower case."""
    former_names: list[str]
    """Names it had before."""
    description: str | None
    """Words for people."""
    created_at: Time
    """When it was registered."""
    updated_at: Time
    """When the row changed last."""


class HostChanges(Changes, total=False):
    """Previous values of the columns that changed."""

    name: str
    former_names: list[str]
    description: str | None
    created_at: Time


class HostRegistered(Host):
    """A host is new in the registry."""

    model_config = example(_HOST)
    changed: NoChanges
    """Empty."""


class HostUpdated(Host):
    """Columns of a host changed; a new name is told with the one before."""

    model_config = example(_HOST, {"name": "box", "former_names": []}, former_names=["box"], created_at=BEFORE)
    changed: HostChanges
    """Previous values."""


class HostRemoved(Host):
    """The row of a host was deleted; nothing was on it."""

    model_config = example(_HOST)
    changed: NoChanges
    """Empty."""
