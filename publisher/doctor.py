"""Whether database, stream and history fit together, and what to do where they do not."""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import NamedTuple

from nats.aio.client import Client
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry
from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from publisher.applier.dead_letters import DeadLetters
from publisher.health import Health
from publisher.outbox.backlog import WITHOUT_EVENT, rows_without_event
from publisher.outbox.blocked import blocked, locked
from publisher.outbox.connection import READER, connect, translated
from publisher.outbox.faults import Fault, noted
from publisher.outbox.lead import holder_of_lead, stranger_leads
from publisher.outbox.rows import known_events
from publisher.part import Part
from publisher.settings import Settings, profile_of
from publisher.stream.event_stream import REBUILD
from publisher.stream.shared_stream import SharedStream
from registry.broker.connection import connect_nats
from registry.broker.errors import translated_nats
from registry.errors import NotFound, Unavailable
from registry.events.reference import UNREADABLE
from registry.profiles.profile import Profile

INTERVAL_SECONDS = (0.5, 5.0)
"""How often a service looks while something is not well, and when all is."""
PAUSE_FACTOR = 25
"""It pauses at least so many times as long as it looked."""
SESSION = READER + "SET lock_timeout = '2s';"
"""A table that somebody has locked keeps the publisher waiting, but not who looks."""
FAULTS_LISTED = 20
LOOKED_AT = 1000
"""Messages that are not recorded are looked at one by one, up to so many."""
TAIL_LOOKED_AT = 100_000
"""In a shared stream holes tell nothing: the headers of ours among its last so many messages do."""

CURSORS = """
SELECT
    cursor.stream,
    cursor.stream_sequence,
    cursor.forgotten_sequence,
    cursor.leader,
    extract(epoch FROM clock_timestamp() - cursor.heartbeat_at)::float8,
    (SELECT count(*) FROM public.outbox WHERE id >= coalesce(upper(public.published_ids(cursor)), 1))
FROM public.publisher_cursor AS cursor
ORDER BY cursor.stream
"""

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
WHERE first_sequence <= last_sequence
ORDER BY first_sequence
LIMIT 100
"""


class Finding(NamedTuple):
    """One thing that was looked at."""

    is_well: bool
    text: str
    is_hindrance: bool = True
    """Of what is not well: whether events or commands do not flow as they should, so that a service is not ready."""


class Known(NamedTuple):
    """What the database says about one stream."""

    stream: str
    last: int
    forgotten: int
    leader: str | None
    heartbeat_age_seconds: float
    waiting: int


class Findings(Health):
    """What was found last, as `/readyz` and the status page tell it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__("examination", registry, consequence="database and stream cannot be compared: ")
        self._found: list[Finding] = []

    def found(self, findings: list[Finding]) -> None:
        """Note what was found now."""
        self._found = findings
        self.well()

    def problems(self) -> list[str]:
        """What is not well and keeps events or commands from flowing as they should."""
        return super().problems() + [one.text for one in self._found if not one.is_well and one.is_hindrance]

    def notes(self) -> list[str]:
        """What is not well beside that."""
        return [one.text for one in self._found if not one.is_well and not one.is_hindrance]


class Examination(Part):
    """Looks at everything again and again, so that a service tells what `imi-registry doctor` tells."""

    def __init__(self, settings: Settings, findings: Findings, after: asyncio.Event) -> None:
        """`after` is set when a publisher may be expected to lead: before, its absence says nothing."""
        super().__init__(settings, findings, "examination")
        self._findings = findings
        self._after = after

    async def work(self) -> None:
        """Look, wait, look again. Settled once it was looked."""
        await self._after.wait()
        while True:
            began = monotonic()
            self._findings.found(await examine(self._settings))
            self.settled.set()
            pause_seconds = INTERVAL_SECONDS[0 if self._findings.problems() else 1]
            await asyncio.sleep(max(pause_seconds, PAUSE_FACTOR * (monotonic() - began)))

    def interrupted(self) -> None:
        """Settled as well: it says why it knows nothing."""
        self.settled.set()


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything. Raises `Unavailable` when a server cannot be reached."""
    async with (
        connect(settings.database_url or "", f"imi-registry doctor {os.getpid()}", SESSION) as conn,
        connect_nats(settings.nats_url or "", "imi-registry doctor", settings.nats_access, reconnect=False) as client,
    ):
        obstacles = await blocked(conn)
        if not obstacles:
            try:
                return await _findings(conn, client, settings)
            except Unavailable as error:
                if not isinstance(error.__cause__, LockNotAvailable):
                    raise
                obstacles = await locked(conn) or [str(error)]
        return [Finding(False, obstacle) for obstacle in obstacles]


async def _findings(conn: AsyncConnection, client: Client, settings: Settings) -> list[Finding]:
    stream = profile_of(settings).event_stream
    with translated():
        waiting = await rows_without_event(conn)
        known = [Known(*row) for row in await (await conn.execute(CURSORS)).fetchall()]
    holder = await holder_of_lead(conn, stream, settings.stale_seconds)
    findings = [Finding(True, "database and NATS answer")]
    if waiting:
        findings += [Finding(False, f"{waiting:,} rows {WITHOUT_EVENT}")]
    if holder is not None and not holder.is_publisher:
        findings += [Finding(False, stranger_leads(holder, stream))]
    ours = next((cursor for cursor in known if cursor.stream == stream), None)
    if ours is None:
        return [*findings, Finding(False, f"nothing was ever published to {stream}: start up or serve")]
    findings += [_publisher(ours, settings.stale_seconds)]
    findings += [_other(cursor) for cursor in known if cursor is not ours]
    findings += [_faulty(fault) for fault in await noted(conn, FAULTS_LISTED)]
    findings += await _stream(conn, client, settings, ours)
    return findings + await _dead_letters(client, settings)


def _publisher(known: Known, stale_seconds: float) -> Finding:
    age = known.heartbeat_age_seconds
    if age > stale_seconds:
        return Finding(
            False,
            f"no publisher: the last one, {known.leader}, was heard {age:,.0f} s ago; {known.waiting} events wait; "
            "start up or serve",
        )
    return Finding(True, f"{known.leader} publishes; {known.waiting} events wait")


async def _dead_letters(client: Client, settings: Settings) -> list[Finding]:
    try:
        waiting = await DeadLetters(client, profile_of(settings), settings).count()
    except NotFound:  # no applier ever ran
        return []
    if not waiting:
        return [Finding(True, "no dead letters")]
    what = "1 dead letter waits" if waiting == 1 else f"{waiting:,} dead letters wait"
    return [
        Finding(
            False, f"{what}: look with imi-registry commands dead-letters list, then retry or drop", is_hindrance=False
        )
    ]


def _other(known: Known) -> Finding:
    return Finding(
        False,
        f"stream {known.stream} was fed from this database, too, {known.heartbeat_age_seconds:,.0f} s ago: while it "
        "lags, retention removes nothing; if it is no longer wanted, remove its row from publisher_cursor",
        is_hindrance=False,
    )


def _faulty(fault: Fault) -> Finding:
    """A row that PostgreSQL cannot read is damage; the others are told as far as they can be."""
    return Finding(
        fault.reason != UNREADABLE,
        f"event {fault.outbox_id}, {fault.event}, went out without its data ({fault.reason}): {fault.detail}",
    )


async def _stream(conn: AsyncConnection, client: Client, settings: Settings, known: Known) -> list[Finding]:
    jetstream, profile = client.jetstream(), profile_of(settings)
    try:
        with translated_nats(f"cannot read stream {known.stream}"):
            state = (await jetstream.stream_info(known.stream)).state
    except NotFound:
        return [Finding(False, f"stream {known.stream} is gone: stop up or serve, then {REBUILD}")]
    if state.last_seq < known.last:
        return [
            Finding(
                False,
                f"stream {known.stream} ends at sequence {state.last_seq}, but {known.last} was published into it: it "
                f"was created anew or restored from an older backup; stop up or serve, then {REBUILD}",
            )
        ]
    findings = [Finding(True, f"stream {known.stream} ends at sequence {state.last_seq}, as it should")]
    if state.first_seq > 1:
        kept = known.forgotten + 1
        findings.append(
            Finding(True, f"the stream begins at {state.first_seq}; events from {kept} on come from the database")
        )
    if profile.is_shared:
        after = max(known.forgotten, state.last_seq - TAIL_LOOKED_AT)
        unknown = await _unknown_in_tail(conn, SharedStream(client, profile, settings), after)
        foreign = 0
    else:
        unknown, foreign = await _unrecorded(conn, jetstream, profile, known, state.first_seq, state.last_seq)
    if foreign:
        findings.append(Finding(True, f"{foreign} messages in the stream are of somebody else; they disturb nothing"))
    if unknown:
        findings.append(
            Finding(
                False,
                f"the stream holds {len(unknown)} events, sequences {unknown[0]} to {unknown[-1]}, that this database "
                "does not: it was restored to an older state; consumers have seen them, so restore a newer backup, or "
                "make the changes again and let consumers start from a snapshot",
            )
        )
    return findings


async def _unknown_in_tail(conn: AsyncConnection, stream: SharedStream, after: int) -> list[int]:
    """Sequences of the messages behind `after` that are marked as ours and that the outbox does not hold."""
    unknown: list[int] = []
    async for page in stream.tail(after):
        ours = [
            (message.outbox_id, message.event_id)
            for message in page
            if message.outbox_id is not None and message.event_id is not None
        ]
        known = await known_events(conn, ours)
        unknown += [
            message.sequence for message in page if message.event_id is not None and message.event_id not in known
        ]
    return unknown


async def _unrecorded(
    conn: AsyncConnection, jetstream: JetStreamContext, profile: Profile, known: Known, first: int, last: int
) -> tuple[list[int], int]:
    """Messages that the record does not name: sequences of events of a lost database, and how many are of nobody."""
    with translated():
        holes = await (await conn.execute(HOLES, {"stream": known.stream})).fetchall()
    unrecorded = [sequence for low, high in holes for sequence in range(max(low, first), high + 1)]
    unrecorded += range(max(known.last + 1, first), last + 1)
    unknown: list[int] = []
    foreign = 0
    for sequence in unrecorded[:LOOKED_AT]:
        try:
            with translated_nats(f"cannot read stream {known.stream}"):
                message = await jetstream.get_msg(known.stream, sequence)
        except NotFound:
            continue
        outbox_id, event_id = profile.identity(message.headers or {})
        if outbox_id is None or event_id is None:
            foreign += 1
        elif not await known_events(conn, [(outbox_id, event_id)]):
            unknown.append(sequence)
    return unknown, foreign
