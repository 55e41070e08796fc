"""One event in full: its envelope byte by byte, the headers of its message, and where in the stream it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from publisher.history.position import position_at
from publisher.outbox import record
from publisher.web.console.sources.database import Connection
from publisher.web.console.sources.lines import NO_NEWS, Line
from publisher.web.console.sources.outbox import lines_of
from publisher.web.console.sources.readers import Reader, readers_of
from registry import exact
from registry.client.lookup import find_event
from registry.concurrency.tasks import in_time
from registry.errors import NotFound, RegistryError
from registry.events.filter import EventFilter
from registry.events.message import Message
from registry.position import Position
from registry.profiles.profile import Profile, encoded
from registry.validation import shifted

if TYPE_CHECKING:
    from publisher.web.console.console import Console

MAX_PAYLOAD = 1024 * 1024
"""Of a server that is not there to ask: the default of NATS."""
MOST_BYTES = 8 * 1024 * 1024
NATS_SECONDS = 3.0
EARLIER = timedelta(seconds=5)
"""A clock that was set back makes an event seem published before it occurred."""
PAGES = 5
"""Of the record, so many are searched for an event."""


@dataclass(frozen=True)
class Change:
    """A field that the event reports."""

    field: str
    before: str
    after: str


@dataclass(frozen=True)
class Inspected:
    """An event."""

    line: Line
    subject: str
    payload: bytes
    """Its envelope: as the stream has it, or as it is published where the stream cannot be asked."""
    headers: Mapping[str, str]
    stored_at: datetime | None
    """When the stream stored it; None where it does not hold it, or cannot be asked."""
    is_in_stream: bool
    problem: str
    """Why the stream does not tell."""
    changes: list[Change]
    readers: list[Reader]
    """Durable consumers that want it, of one that is in the stream."""
    unlisted: str
    """Why there may be others."""

    @property
    def stored_after_ms(self) -> float | None:
        """From the change until the stream had it, by two clocks."""
        if self.stored_at is None:
            return None
        return (self.stored_at - self.line.occurred_at).total_seconds() * 1000


async def inspected(console: Console, outbox_id: int) -> Inspected:
    """The event with this place in the outbox. Raises `NotFound`, `Unavailable`."""
    line = (await lines_of(console.database, [outbox_id])).get(outbox_id)
    if line is None:
        raise NotFound(f"event {outbox_id} is not kept: it was never there, or retention has removed it")
    max_payload, problem = MAX_PAYLOAD, ""
    try:
        max_payload = console.broker.client.max_payload
    except RegistryError as error:
        problem = str(error)

    message, sequence = await console.database.ask(
        partial(_read, profile=console.profile, line=line, max_payload=min(max_payload, MOST_BYTES))
    )
    line = line._replace(sequence=sequence)
    subject, payload, headers = message.subject, message.payload, _headers(message)
    stored_at, is_in_stream, readers, unlisted = None, False, list[Reader](), ""
    if sequence is not None and not problem:
        try:
            looked = find_event(console.broker.client, console.profile, sequence)
            found = await in_time(looked, NATS_SECONDS, "NATS")
            subject, payload, stored_at = found.subject, found.payload, found.stored_at
            headers, is_in_stream = dict(found.headers or headers), found.headers is not None
            asked = readers_of(console.broker.client, console.profile, subject, sequence, UUID(line.event_id))
            readers, unlisted = await in_time(asked, NATS_SECONDS, "NATS")
        except RegistryError as error:
            problem = str(error)
    changes = changes_of(payload)
    return Inspected(line, subject, payload, headers, stored_at, is_in_stream, problem, changes, readers, unlisted)


async def _read(conn: Connection, *, profile: Profile, line: Line, max_payload: int) -> tuple[Message, int | None]:
    return await _message(conn, profile, line.id, max_payload), await _sequence(conn, profile, line)


async def _message(conn: Connection, profile: Profile, outbox_id: int, max_payload: int) -> Message:
    async for row in record.rows(conn, [outbox_id], EventFilter(), max_payload):
        return encoded(profile, row, max_payload)
    raise NotFound(f"event {outbox_id} was removed meanwhile")


async def _sequence(conn: Connection, profile: Profile, line: Line) -> int | None:
    """Where the event is in the stream; None when it is not, or its record is gone."""
    stream = profile.event_stream
    try:
        state = await record.state(conn, stream, line.id)
        if not state.is_published:
            return None
        after = await position_at(conn, stream, shifted(line.occurred_at, -EARLIER))
    except NotFound:
        return None
    for _ in range(PAGES):
        places = await record.places(conn, stream, after, Position(state.last + 1))
        for place in places:
            if place.outbox_id == line.id:
                return place.sequence
        if not places:
            return None
        after = Position(places[-1].sequence)
    return None


def _headers(message: Message) -> dict[str, str]:
    pairs = (text.split(": ", 1) for text in message.headers.splitlines() if text)
    return {pair[0]: pair[-1] for pair in pairs}


def changes_of(payload: bytes) -> list[Change]:
    """Each field that an event reports as changed, with its value before and after; in objects each key by itself."""
    try:
        data = exact.loads(payload).get("data")
    except (ValueError, AttributeError):
        return []
    changed = data.get("changed") if isinstance(data, dict) else None
    found: list[Change] = []
    for name, before in changed.items() if isinstance(changed, dict) else ():
        found += _changes(name, before, data.get(name))
    return sorted(found, key=lambda change: change.field in NO_NEWS)


def _changes(name: str, before: Any, after: Any) -> list[Change]:
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return [Change(name, _text(before), _text(after))]
    keys = dict.fromkeys([*before, *after])
    missing = object()
    pairs = [(key, before.get(key, missing), after.get(key, missing)) for key in keys]
    return [
        Change(f"{name}.{key}", "" if old is missing else _text(old), "" if new is missing else _text(new))
        for key, old, new in pairs
        if old is missing or new is missing or not exact.same(old, new)
    ]


def _text(value: Any) -> str:
    return exact.dumps(value).decode()
