"""Phantoms: events in the stream that the database does not hold, since it was restored to an older state.

So it is after a failover to a replica that lacked the last transactions: consumers were told what is not so any more.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple
from uuid import UUID

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamState
from psycopg import AsyncConnection

from publisher.history.shared_tail import SharedTail
from publisher.outbox.connection import translated
from publisher.outbox.known import Known
from publisher.outbox.rows import known_events
from publisher.settings import Settings, profile_of
from publisher.stream.shared_stream import SharedStream
from registry import exact
from registry.broker.errors import translated_nats
from registry.broker.stream import bound_subjects
from registry.errors import Conflict, Invalid, NotFound
from registry.events.envelope import attributes_of
from registry.events.filter import DEFAULT_HOST, what_happened
from registry.profiles.profile import Profile, spoken
from registry.validation import printable

LOOKED_AT = 1000
"""Messages that are not recorded are looked at one by one: by who looks again and again the newest so many."""

NUMBER = re.compile("[0-9]{1,30}")
MOST_ID = 2**63 - 1
TYPE_IDS = range(2**31)
"""What the number of a worktree type can be."""

STILL_SECONDS = 0.5
"""A publisher at work records more than once in so much time."""

# Where the record has a hole, a message of somebody else stands in the stream, or an event of a lost database.
HOLES = """
SELECT first_sequence, last_sequence
FROM (
    SELECT
        coalesce(lag(batch.last_sequence) OVER (ORDER BY batch.last_sequence), cursor.forgotten_sequence) + 1
            AS first_sequence,
        batch.last_sequence - (SELECT sum(upper(part) - lower(part)) FROM unnest(batch.ids) AS part)::bigint
            AS last_sequence
    FROM public.publisher_cursor AS cursor
    JOIN public.published_batch AS batch ON batch.stream = cursor.stream
    WHERE cursor.stream = %(stream)s
    UNION ALL
    SELECT
        greatest(
            cursor.forgotten_sequence,
            (SELECT max(last_sequence) FROM public.published_batch WHERE stream = cursor.stream)
        ) + 1,
        cursor.stream_sequence
    FROM public.publisher_cursor AS cursor
    WHERE cursor.stream = %(stream)s
) AS hole
WHERE first_sequence <= least(last_sequence, %(recorded)s) AND last_sequence >= %(first)s
ORDER BY first_sequence DESC
LIMIT %(most)s
"""

RECORDED = "SELECT stream_sequence FROM public.publisher_cursor WHERE stream = %s"


class Phantom(NamedTuple):
    """One such event."""

    sequence: int
    event_id: str
    entity: str
    action: str
    entity_id: str | None
    project_id: str | None
    host_id: str | None
    """Of the row, or of what is on none, of the writer; None is the default host."""
    time: str
    """When the change was made that is gone, as its envelope says."""
    data: dict[str, Any] | None
    """What was told of the row; None where the event was a reference."""
    outbox_id: int
    """What it has as `sequence`; 0 where that is none."""

    @property
    def row(self) -> str | None:
        """What it is about: an id of a row, the number of a worktree type, the name of a table that was truncated.

        A place has the ids of its project and host, with a blank between. None where the event does not tell.
        """
        if self.entity == "worktree_type":
            return None if self.data is None else str(self.data["type_id"])
        if self.entity == "project_host":
            return None if self.entity_id is None else f"{self.entity_id} {self.host_id or DEFAULT_HOST}"
        if self.entity == "registry":
            return str(self.data.get("table")) if self.action == "truncated" and self.data is not None else None
        return self.entity_id


async def phantoms_of(conn: AsyncConnection, client: Client, settings: Settings, known: Known) -> list[Phantom]:
    """All of them, in the order of the stream. Raises `NotFound` when there is no stream, `Unavailable`."""
    jetstream = client.jetstream()
    with translated_nats(f"cannot read stream {known.stream}"):
        state = (await jetstream.stream_info(known.stream)).state
    sequences, _, _ = await unknown_sequences(conn, client, settings, known, state, None)
    found = [await read_phantom(jetstream, known.stream, sequence) for sequence in sequences]
    return [phantom for phantom in found if phantom is not None]


async def read_phantom(jetstream: JetStreamContext, stream: str, sequence: int) -> Phantom | None:
    """What the event at `sequence` tells; None when it is gone, or none of a registry. Raises `Unavailable`."""
    try:
        with translated_nats(f"cannot read stream {stream}"):
            message = await jetstream.get_msg(stream, sequence)
        return phantom_in(message.data or b"", sequence)
    except (NotFound, Invalid):
        return None


def phantom_in(payload: bytes, sequence: int) -> Phantom:
    """What an event tells. Anybody may write to a stream: PostgreSQL takes each value of this. Raises `Invalid`."""
    envelope = exact.checked(attributes_of(payload), "event")
    entity, action, entity_id = what_happened(envelope)
    project_id, host_id = envelope.get("partitionkey"), envelope.get("hostid")
    data = None if "dataref" in envelope else envelope.get("data") or None
    if data is not None:
        data.pop("change", None)  # of the shared stream, where it says what happened, and not what the row is
    if entity == "worktree_type" and data is not None:
        type_id = data.get("type_id")
        if type(type_id) is not int or type_id not in TYPE_IDS:
            raise Invalid(f"event: data.type_id: {printable(type_id)}: it must be the number of a worktree type")
    return Phantom(
        sequence,
        _uuid("id", envelope["id"]),
        entity,
        str(action or ""),
        None if entity_id is None else _uuid("subject", entity_id),
        None if project_id is None else _uuid("partitionkey", project_id),
        None if host_id is None else _uuid("hostid", host_id),
        envelope["time"],
        data,
        min(int(number), MOST_ID) if NUMBER.fullmatch(number := str(envelope.get("sequence"))) else 0,
    )


def _uuid(name: str, value: object) -> str:
    """A UUID as PostgreSQL writes it."""
    try:
        return str(UUID(str(value)))
    except ValueError:
        raise Invalid(f"event: {name}: {printable(value)}: it must be a UUID") from None


async def unknown_sequences(
    conn: AsyncConnection,
    client: Client,
    settings: Settings,
    known: Known,
    state: StreamState,
    most: int | None,
    tail: SharedTail | None = None,
) -> tuple[list[int], int, bool]:
    """Sequences of events of a lost database, how many messages are of nobody we know, and whether these are all.

    Of a stream of our own the newest `most` messages that the record does not name are looked at; None: every one.
    `tail` is what was compared of a shared stream before, and may not come to its end. Raises `Unavailable`.
    """
    profile = profile_of(settings)
    if profile.is_shared:
        try:
            profile = await spoken(profile, partial(bound_subjects, client))
        except Conflict:
            return [], 0, True  # nothing of ours is in a stream that does not take our subjects
        tail = SharedTail() if tail is None else tail
        await tail.look(conn, SharedStream(client, profile, settings), known, state.last_seq)
        return tail.unknown, 0, True
    return await _unrecorded(conn, client.jetstream(), profile, known.stream, state, most)


async def _unrecorded(
    conn: AsyncConnection,
    jetstream: JetStreamContext,
    profile: Profile,
    stream: str,
    state: StreamState,
    most: int | None,
) -> tuple[list[int], int, bool]:
    """Messages that the record does not name: events of a lost database, how many are of nobody, and whether all."""
    first, last = state.first_seq, state.last_seq
    recorded = await _end_of_record(conn, stream, last)
    values = {"stream": stream, "recorded": recorded, "first": first, "most": None if most is None else most + 1}
    with translated():
        holes = await (await conn.execute(HOLES, values)).fetchall()
    parts = [range(max(recorded + 1, first), last + 1)]
    parts += [range(max(low, first), min(high, recorded) + 1) for low, high in holes]
    unrecorded = chain.from_iterable(reversed(part) for part in parts)
    unknown: list[int] = []
    foreign = 0
    for sequence in islice(unrecorded, most):
        try:
            with translated_nats(f"cannot read stream {stream}"):
                message = await jetstream.get_msg(stream, sequence)
        except NotFound:
            continue
        outbox_id, event_id = profile.identity(message.headers or {})
        if outbox_id is None or event_id is None:
            foreign += 1
        elif not await known_events(conn, [(outbox_id, event_id)]):
            unknown.append(sequence)
    return unknown[::-1], foreign, next(unrecorded, None) is None


async def _end_of_record(conn: AsyncConnection, stream: str, last: int) -> int:
    """Sequence up to which the record tells what was published, once that is `last` or stands still.

    What a publisher has just sent is in the stream before it is in the record, and is not worth a look.
    """
    recorded = await _recorded(conn, stream)
    while recorded < last:
        await asyncio.sleep(STILL_SECONDS)
        before, recorded = recorded, await _recorded(conn, stream)
        if recorded == before:
            break
    return recorded


async def _recorded(conn: AsyncConnection, stream: str) -> int:
    with translated():
        row = await (await conn.execute(RECORDED, [stream])).fetchone()
    return int(row[0]) if row else 0
