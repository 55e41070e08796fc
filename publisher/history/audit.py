"""Whether the stream holds what was published, once and in order: message by message, beside the outbox.

Nothing that a consumer would hide is hidden here: every stored message is read, its headers alone, in the order of the
stream. Writers and relay may go on: what is published while this runs is not looked at.
"""

from __future__ import annotations

from array import array
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from nats.aio.client import Client
from psycopg import AsyncConnection

from publisher.outbox.connection import connect, translated
from publisher.settings import Settings, profile_of
from publisher.stream.tail import tail_of
from registry.broker.connection import connect_nats
from registry.broker.errors import translated_nats
from registry.broker.stream import bound_subjects
from registry.errors import NotFound
from registry.profiles.profile import Profile, spoken

LISTED = 20
READ_ROWS = 5000

# Where events are withheld, the cursor has passed them, too: the record tells which are in the stream.
PUBLISHED = """
SELECT
    coalesce((SELECT min(id) FROM public.outbox), 1),
    coalesce(upper(public.published_ids(cursor)), 1),
    CASE
        WHEN withheld = 0 THEN public.published_ids(cursor)
        ELSE (
            SELECT coalesce(range_agg(part), '{}')
            FROM public.published_batch AS batch
            CROSS JOIN LATERAL unnest(batch.ids) AS part
            WHERE batch.stream = cursor.stream
        )
    END
FROM public.publisher_cursor AS cursor
WHERE stream = %(stream)s
"""

# What one row of a table did is in order by its id. A place of a project has two keys, a type of worktrees a number, a
# TRUNCATE locks its table. Any other event without an id, as a heartbeat, is of no row, so in no order.
ROWS = """
SELECT
    id, event_id::text, entity,
    CASE
        WHEN entity = 'project_host' THEN concat(entity_id, ' ', data ->> 'host_id')
        ELSE coalesce(entity_id::text, data ->> 'type_id', data ->> 'table', event_id::text)
    END,
    occurred_at::text
FROM public.outbox
WHERE id > %(after)s AND id < %(end)s AND %(published)s::int8multirange @> id
ORDER BY id
LIMIT %(limit)s
"""

# Those that the stream's own limits have removed since stand in the record before its first sequence.
TRIMMED = """
SELECT range_agg(part)
FROM public.published_batch AS batch
CROSS JOIN LATERAL unnest(batch.ids) AS part
WHERE batch.stream = %(stream)s AND batch.last_sequence < %(first)s
"""
BOUNDARY = """
SELECT last_sequence, ids
FROM public.published_batch
WHERE stream = %(stream)s AND last_sequence >= %(first)s
ORDER BY last_sequence
LIMIT 1
"""


class Fault(NamedTuple):
    """One event that is not as it should be."""

    outbox_id: int
    event: str
    occurred_at: str
    sequence: int
    """Where it is in the stream; 0 when it is not."""


@dataclass
class Faults:
    """All of one kind."""

    count: int = 0
    first: list[Fault] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        """Count one, and keep it where it is among the first."""
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(fault)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"count": self.count, "first": [fault._asdict() for fault in self.first]}


@dataclass
class Audit:
    """What the comparison found."""

    stream: str
    events: int = 0
    """Rows of the outbox that are published and kept."""
    trimmed: int = 0
    """Of these, those that the stream's limits have removed since."""
    messages: int = 0
    """Messages that were read."""
    foreign: int = 0
    """Of these, those that are no event of this outbox, or not yet when this began; retention may have removed rows."""
    lost: Faults = field(default_factory=Faults)
    doubled: Faults = field(default_factory=Faults)
    reordered: Faults = field(default_factory=Faults)
    """Before an older event of the same row."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing is lost, doubled or reordered."""
        return not (self.lost.count or self.doubled.count or self.reordered.count)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        counts = {"stream": self.stream, "events": self.events, "trimmed": self.trimmed}
        counts |= {"messages": self.messages, "foreign": self.foreign}
        faults = {"lost": self.lost, "doubled": self.doubled, "reordered": self.reordered}
        return counts | {name: found.as_dict() for name, found in faults.items()}


class Seen:
    """What the stream holds, by outbox id: seventeen bytes for each id.

    An id may be that of several events, since a database that was restored to an older state hands it out again: some
    300 bytes for each more.
    """

    def __init__(self, low: int, end: int) -> None:
        size = max(end - low, 0)
        self._low = low
        self._times = array("B", bytes(size))
        self._sequences = array("Q", bytes(8 * size))
        self._marks = array("Q", bytes(8 * size))
        self._others: dict[tuple[int, int], list[int]] = {}
        """Sequences of those events of an id, by their marks, that are not the first one."""

    def note(self, outbox_id: int, event_id: str, sequence: int) -> None:
        """Note a message, if its id is one of those that are looked at."""
        at, mark = outbox_id - self._low, mark_of(event_id)
        if not 0 <= at < len(self._times):
            return
        if self._times[at] and self._marks[at] != mark:
            self._others.setdefault((outbox_id, mark), []).append(sequence)
            return
        if not self._times[at]:
            self._sequences[at], self._marks[at] = sequence, mark
        self._times[at] = min(self._times[at] + 1, 255)

    def of(self, outbox_id: int, event_id: str) -> tuple[int, int]:
        """How often an event is there, and where first; one of the same id in another outbox is none of ours."""
        at, mark = outbox_id - self._low, mark_of(event_id)
        if self._times[at] and self._marks[at] == mark:
            return self._times[at], self._sequences[at]
        others = self._others.get((outbox_id, mark), [])
        return len(others), others[0] if others else 0


def mark_of(event_id: str) -> int:
    """Half of an event's id: enough to tell it from that of another outbox."""
    return int(event_id[:18].replace("-", ""), 16)


async def audit(settings: Settings) -> Audit:
    """Compare the whole stream with what was published into it. Raises `NotFound`, `Unavailable`."""
    profile = profile_of(settings)
    async with (
        connect(settings.database_url or "", "imi-registry audit") as conn,
        connect_nats(settings.nats_url or "", "imi-registry audit", settings.nats_access, reconnect=False) as client,
    ):
        with translated():
            row = await (await conn.execute(PUBLISHED, {"stream": profile.event_stream})).fetchone()
        if row is None:
            raise NotFound(f"this database has published nothing to stream {profile.event_stream}")
        low, end, published = row
        found, seen = Audit(profile.event_stream), Seen(low, end)
        there = await spoken(profile, partial(bound_subjects, client))
        first = await _read_stream(client, there, found, seen)
        trimmed = await _trimmed(conn, profile, first)
        await _compare(conn, found, seen, trimmed, {"end": end, "published": published})
    return found


async def _read_stream(client: Client, profile: Profile, found: Audit, seen: Seen) -> int:
    """Read every message; returns the first sequence that the stream holds."""
    jetstream = client.jetstream()
    with translated_nats(f"cannot read stream {profile.event_stream}"):
        state = (await jetstream.stream_info(profile.event_stream)).state
        async with aclosing(tail_of(jetstream, profile, 0)) as pages:
            async for page in pages:
                for message in page:
                    if message.sequence > state.last_seq:
                        break
                    found.messages += 1
                    if message.outbox_id is not None and message.event_id is not None:
                        seen.note(message.outbox_id, message.event_id, message.sequence)
    return state.first_seq if state.messages else state.last_seq + 1


async def _trimmed(conn: AsyncConnection, profile: Profile, first: int) -> Any:
    """Ids of the events that stood before sequence `first`, as something to look an id up in."""
    values = {"stream": profile.event_stream, "first": first}
    with translated():
        (ranges,) = await (await conn.execute(TRIMMED, values)).fetchone() or (None,)
        boundary = await (await conn.execute(BOUNDARY, values)).fetchone()
    parts = [(part.lower, part.upper) for part in ranges or ()]
    if boundary is not None and not profile.is_shared:
        last, batch = boundary
        ids = [outbox_id for part in batch for outbox_id in range(part.lower, part.upper)]
        parts += [(one, one + 1) for one in ids[: max(len(ids) - (last - first + 1), 0)]]
    return parts


async def _compare(
    conn: AsyncConnection, found: Audit, seen: Seen, trimmed: list[tuple[int, int]], values: dict[str, Any]
) -> None:
    """Look each published row of the outbox up in what the stream holds."""
    highest: dict[tuple[str, str], int] = {}
    found.foreign = found.messages
    after = 0
    while True:
        with translated():
            asked = values | {"after": after, "limit": READ_ROWS}
            rows = await (await conn.execute(ROWS, asked)).fetchall()
        for outbox_id, event_id, entity, key, occurred_at in rows:
            found.events += 1
            times, sequence = seen.of(outbox_id, event_id)
            found.foreign -= times
            fault = Fault(outbox_id, event_id, occurred_at, sequence)
            if not times and any(low <= outbox_id < high for low, high in trimmed):
                found.trimmed += 1
            elif not times:
                found.lost.add(fault)
            if times > 1:
                found.doubled.add(fault)
            if times and sequence < highest.get((entity, key), 0):
                found.reordered.add(fault)
            highest[entity, key] = max(sequence, highest.get((entity, key), 0))
        if not rows:
            return
        after = rows[-1][0]
