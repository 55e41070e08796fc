"""Naming profiles: what an outbox row is called on the wire, and which stream it goes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from registry.errors import Invalid
from registry.events.message import Message, OutboxRow
from registry.profiles import bloodbank, imi, versions
from registry.settings import Settings
from registry.subjects import CommandNames, Names


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
    event_filter: Callable[[str | None, str | None, str | None], str]
    """Entity, action and project id, None for any, to the narrowest subject wildcard that has all their events."""
    source: str
    """CloudEvents `source` of our events."""
    requests: str
    """What the subjects of the publisher's own services begin with."""
    commands: CommandNames
    parse_command: Callable[[bytes], Any]
    """The payload of a command to the CloudEvents attributes of the `imi` profile, or to anything that is none."""
    complete_command: Callable[[dict[str, Any]], dict[str, Any]]
    """The attributes of a command of ours to those it is sent with."""


def profile_of(settings: Settings) -> Profile:
    """The profile that the settings choose. Raises `Invalid` for event versions that it does not have."""
    if settings.profile == "bloodbank":
        if settings.event_versions:
            raise Invalid("setting event_versions: profile bloodbank has version 1 of each event only")

        def encode(row: OutboxRow, max_bytes: int) -> Message:
            return bloodbank.encode(row, settings.source, max_bytes)

        return Profile(
            bloodbank.STREAM,
            bloodbank.SUBJECTS,
            is_shared=True,
            encode=encode,
            event_filter=bloodbank.event_filter,
            source=settings.source,
            requests=f"{settings.prefix}.qry.v1",
            commands=bloodbank.command_names(settings.prefix),
            parse_command=bloodbank.parse_command,
            complete_command=bloodbank.complete_command,
        )
    names = Names(settings.prefix)
    return Profile(
        names.event_stream,
        names.event_subjects,
        is_shared=False,
        encode=(
            versions.encoder(settings.event_versions, names, settings.source)
            if settings.event_versions
            else partial(imi.encode, names=names, source=settings.source)
        ),
        event_filter=names.event_filter,
        source=settings.source,
        requests=f"{settings.prefix}.qry.v1",
        commands=names.commands,
        parse_command=orjson.loads,
        complete_command=dict,
    )
