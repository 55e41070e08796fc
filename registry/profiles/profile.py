"""What a naming profile does: an outbox row to its message, a message in a stream to the event of ours that it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from registry.events.message import Message, OutboxRow
from registry.profiles.bloodbank import BloodbankProfile
from registry.profiles.imi import ImiProfile
from registry.settings import Settings
from registry.subjects import CommandNames


class Profile(Protocol):
    """One way to name and place events and commands: `ImiProfile` or `BloodbankProfile`."""

    is_shared: bool
    """The stream exists, belongs to others too, and is neither created nor altered here."""
    event_stream: str
    event_subjects: str
    """Wildcard of all subjects that our events have."""
    source: str
    """CloudEvents `source` of our events."""
    requests: str
    """What the subjects of the publisher's own services begin with."""
    commands: CommandNames

    def encode(self, row: OutboxRow, max_bytes: int) -> Message:
        """The message of an outbox row; one larger than the server's limit of `max_bytes` has no data."""

    def event_filter(self, entity: str | None, action: str | None, project_id: str | None) -> str:
        """The narrowest subject wildcard that has all events of these, None for any."""

    def identity(self, headers: Mapping[str, str]) -> tuple[int, str] | tuple[None, None]:
        """Outbox id and event id of an event of this registry; nothing for any other message of the stream."""

    def parse_command(self, payload: bytes) -> Any:
        """The CloudEvents attributes of a command, called as in the profile `imi`; or anything that is none."""

    def complete_command(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """The attributes of a command of ours to those it is sent with."""


def profile_of(settings: Settings) -> Profile:
    """The profile that the settings choose. Raises `Invalid` for event versions that it does not have."""
    if settings.profile == "bloodbank":
        return BloodbankProfile(settings.prefix, settings.source, settings.event_versions)
    return ImiProfile(settings.prefix, settings.source, settings.event_versions)
