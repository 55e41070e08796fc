"""The event catalogue: what can happen to what, what each version of an event says, and how an old one reads today."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import ValidationError

from registry.errors import Invalid
from registry.events import activity, command, host, project, project_host, registry, worktree, worktree_type
from registry.events.base import Data
from registry.events.envelope import Envelope, parse_envelope
from registry.validation import from_validation, printable

VERSIONS: dict[str, tuple[type[Data], ...]] = {
    "project.registered": (project.ProjectRegistered,),
    "project.updated": (project.ProjectUpdated,),
    "project.deactivated": (project.ProjectDeactivated,),
    "project.reactivated": (project.ProjectReactivated,),
    "project.merged": (project.ProjectMerged,),
    "project.deleted": (project.ProjectDeleted,),
    "worktree.created": (worktree.WorktreeCreated,),
    "worktree.updated": (worktree.WorktreeUpdated,),
    "worktree.git_state_updated": (worktree.WorktreeGitStateUpdated,),
    "worktree.claimed": (worktree.WorktreeClaimed,),
    "worktree.released": (worktree.WorktreeReleased,),
    "worktree.merged": (worktree.WorktreeMerged,),
    "worktree.removed": (worktree.WorktreeRemoved,),
    "worktree.reactivated": (worktree.WorktreeReactivated,),
    "worktree.deleted": (worktree.WorktreeDeleted,),
    "worktree_type.added": (worktree_type.WorktreeTypeAdded,),
    "worktree_type.updated": (worktree_type.WorktreeTypeUpdated,),
    "worktree_type.removed": (worktree_type.WorktreeTypeRemoved,),
    "activity.logged": (activity.ActivityLogged, activity.ActivityLoggedV2),
    "host.registered": (host.HostRegistered,),
    "host.updated": (host.HostUpdated,),
    "host.removed": (host.HostRemoved,),
    "project_host.added": (project_host.ProjectHostAdded,),
    "project_host.updated": (project_host.ProjectHostUpdated,),
    "project_host.removed": (project_host.ProjectHostRemoved,),
    "registry.truncated": (registry.RegistryTruncated,),
    "registry.heartbeat": (registry.RegistryHeartbeat,),
    "command.applied": (command.CommandApplied,),
    "command.rejected": (command.CommandRejected,),
}
"""`entity.action` to its data models, oldest major version first. The outbox holds version 1."""

UPCASTERS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], ...]] = {
    "activity.logged": (activity.activity_logged_v2,),
}
"""`entity.action` to the steps from each version's data to that of the next."""


class Event(NamedTuple):
    """An event as this version of the package understands it."""

    name: str
    """`entity.action`"""
    envelope: Envelope
    """The envelope as it was published."""
    data: Data | None
    """What it says, in the newest version's model; None when it went out as a reference (`envelope.dataref`)."""


def parse(payload: bytes) -> Event:
    """Read an event of any version into the newest model.

    Raises `Invalid` naming the field, value and rule for one that breaks the contract, or is of a later version than
    this package knows.
    """
    envelope = parse_envelope(payload)
    _, entity, action, major = envelope.type.split(".")
    name = f"{entity}.{action}"
    known = [f"v{number}" for number, _ in enumerate(VERSIONS.get(name, ()), 1)]
    if major not in known:
        shown = printable(envelope.type)
        raise Invalid(f"event {envelope.id}: type {shown} is not known; a newer version of this package may")
    version = known.index(major) + 1
    if envelope.data is None:
        return Event(name, envelope, None)
    model = VERSIONS[name][version - 1]
    try:
        data = model.model_validate(envelope.data)
        if version < len(VERSIONS[name]):
            data = VERSIONS[name][-1].model_validate(upcast(name, envelope.data, version))
    except ValidationError as error:
        raise from_validation(error, f"event {envelope.id}: data") from error
    return Event(name, envelope, data)


def upcast(name: str, data: dict[str, Any], version: int, to: int | None = None) -> dict[str, Any]:
    """`data` of `version` of an event as version `to` says it; None means the newest."""
    steps = UPCASTERS.get(name, ())
    newest = len(steps) + 1
    for step in steps[version - 1 : (to or newest) - 1]:
        data = step(data)
    return data
