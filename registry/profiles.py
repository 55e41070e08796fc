"""Naming profiles: what an outbox row is called on the wire, and which stream it goes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from registry import bloodbank, envelope
from registry.envelope import Message, OutboxRow
from registry.settings import Settings
from registry.subjects import Names


@dataclass(frozen=True)
class Profile:
    """One way to name and place events."""

    event_stream: str
    event_subjects: str
    """Wildcard of all subjects that our events have."""
    is_shared: bool
    """The stream exists, belongs to others too, and is neither created nor altered here."""
    encode: Callable[[OutboxRow, int], Message]
    """An outbox row and the server's limit in bytes to its message."""


def profile_of(settings: Settings) -> Profile:
    """The profile that the settings choose."""
    if settings.profile == "bloodbank":

        def encode(row: OutboxRow, max_bytes: int) -> Message:
            return bloodbank.encode(row, settings.source, max_bytes)

        return Profile(bloodbank.STREAM, bloodbank.SUBJECTS, is_shared=True, encode=encode)
    names = Names(settings.prefix)
    return Profile(
        names.event_stream,
        names.event_subjects,
        is_shared=False,
        encode=partial(envelope.encode, names=names, source=settings.source),
    )
