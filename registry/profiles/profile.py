"""What a naming profile does: an outbox row to its message, a message in a stream to the event of ours that it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from registry.errors import Invalid
from registry.events.message import Message, OutboxRow
from registry.profiles.bloodbank import BloodbankProfile
from registry.profiles.imi import ImiProfile
from registry.subjects import DEFAULT_SOURCE, CommandNames
from registry.validation import PREFIX, RULES, SOURCE, printable


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


PROFILES: dict[str, type[ImiProfile] | type[BloodbankProfile]] = {"imi": ImiProfile, "bloodbank": BloodbankProfile}
"""Name, as in the setting `profile`, to the class."""


def profile_named(
    name: str, *, prefix: str = "imi", source: str = DEFAULT_SOURCE, event_versions: Mapping[str, int] | None = None
) -> Profile:
    """The profile `name` for one registry; the parameters are the settings of the same names.

    Raises `Invalid` naming setting, value and rule.
    """
    if name not in PROFILES:
        raise Invalid(f"setting profile: value {printable(name)}: it must be {' or '.join(PROFILES)}")
    _check("prefix", prefix, PREFIX)
    _check("source", source, SOURCE)
    return PROFILES[name](prefix, source, event_versions)


def _check(setting: str, value: str, pattern: str) -> None:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise Invalid(f"setting {setting}: value {printable(value)}: {RULES[pattern]}")
