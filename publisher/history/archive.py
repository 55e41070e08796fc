"""The whole history as JSON Lines: one envelope a line, in the order of the stream; out of one database, into another.

An import restores the outbox, the record of the order, and the tables as the events tell them. Then `rebuild-stream`
publishes: the stream that arises is the one that was exported, from its first kept event on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zstandard
from psycopg import AsyncConnection

from publisher.history.lines import plain_lines, unpacked_lines
from publisher.history.restore import restore_tables
from publisher.outbox import record
from publisher.outbox.backlog import WITHOUT_EVENT, rows_without_event
from publisher.outbox.connection import translated
from publisher.outbox.lead import try_lock
from publisher.outbox.ranges import range_array, runs
from publisher.outbox.record import every_row
from publisher.outbox.rows import WHOLE_BYTES
from publisher.settings import Settings, profile_of
from publisher.text import visible_json
from registry import exact
from registry.allowance import Allowance
from registry.errors import Conflict, Unusable
from registry.events.filter import EventFilter
from registry.events.message import OutboxRow
from registry.log import log
from registry.position import Position
from registry.profiles.imi import ImiProfile

NO_LIMIT = 2**62
MOST_ID = 10**17
"""An event with an id of more than 18 digits is not known again in a stream: what is written later has room below."""
BATCH_EVENTS = 1000
BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# What was never published to the stream, in the order in which it will be.
WAITING = """
SELECT id
FROM public.outbox
WHERE
    id > %(after)s
    AND NOT coalesce(
        (SELECT public.published_ids(cursor) FROM public.publisher_cursor AS cursor WHERE stream = %(stream)s) @> id,
        false
    )
ORDER BY id
LIMIT %(limit)s
"""

HAS_WITHHELD = "SELECT EXISTS (SELECT FROM public.publisher_cursor WHERE stream = %(stream)s AND withheld > 0)"

EVERY = "SELECT id FROM public.outbox WHERE id > %(after)s ORDER BY id LIMIT %(limit)s"

IS_EMPTY = """
SELECT NOT EXISTS (SELECT FROM public.outbox)
    AND NOT EXISTS (SELECT FROM public.projects)
    AND NOT EXISTS (SELECT FROM public.agent_activities)
    AND NOT EXISTS (SELECT FROM public.publisher_cursor WHERE stream_sequence > 0)
"""

COPY_OUTBOX = """
COPY public.outbox (
    id, transaction_id, event_id, entity, action, project_id, entity_id, occurred_at, actor, correlation_id,
    causation_id, traceparent, data, actor_is_verified, host_id
) FROM STDIN
"""

RECORD = "INSERT INTO public.published_batch (stream, last_sequence, ids) VALUES (%s, %s, %s::int8range[])"

CURSOR = """
INSERT INTO public.publisher_cursor (stream, published, stream_sequence, complete_sequence, withheld)
VALUES (%(stream)s, int8multirange(int8range(1, %(last_id)s + 1)), %(events)s, %(events)s, %(withheld)s)
ON CONFLICT (stream) DO UPDATE
SET
    published = EXCLUDED.published,
    stream_sequence = EXCLUDED.stream_sequence,
    complete_sequence = EXCLUDED.complete_sequence,
    withheld = EXCLUDED.withheld
"""


@contextmanager
def writing(file: Path) -> Iterator[Callable[[bytes], object]]:
    """Write lines to `file`, compressed where its name ends in .zst; `-` is the output. Raises `Invalid`.

    The file has its name only when it is whole, and on the disk: one that was cut off between two lines would look like
    a history. A pipe or a device is written itself.
    """
    if str(file) == "-":
        yield _write_visible if sys.stdout.isatty() else sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    if os.path.isdir(file):
        raise Unusable(f'cannot write "{file}": it is a folder')
    is_plain = os.path.isfile(file) or not os.path.exists(file)
    place = Path(os.path.realpath(file)) if is_plain else file  # a link, as /dev/stdout is one, stays
    partial = place.with_name(f"{place.name}.partial") if is_plain else place
    try:
        with partial.open("wb") as plain:
            if file.suffix == ".zst":
                with zstandard.ZstdCompressor(level=6).stream_writer(plain, closefd=False) as packed:
                    yield packed.write
            else:
                yield plain.write
            plain.flush()
            if is_plain:
                os.fsync(plain.fileno())
        if is_plain:
            partial.replace(place)
    except OSError as error:
        raise Unusable(f'cannot write "{file}": {error.strerror}') from error


def _write_visible(line: bytes) -> None:
    """Write a line to the terminal; copied from there it says the same."""
    sys.stdout.buffer.write(visible_json(line.decode()).encode())


@contextmanager
def reading(file: Path) -> Iterator[Iterable[bytes]]:
    """The lines of what `writing` wrote. Raises `Invalid`."""
    try:
        with file.open("rb") as plain:
            yield unpacked_lines(plain) if file.suffix == ".zst" else plain_lines(plain)
    except OSError as error:
        raise Unusable(f'cannot read "{file}": {error.strerror}') from error
    except zstandard.ZstdError as error:
        raise Unusable(f'cannot read "{file}": not one whole zstd frame: {error}') from error


async def export_history(conn: AsyncConnection, settings: Settings, write: Callable[[bytes], object]) -> int:
    """Write every event as a line, with its data however large; returns how many. One snapshot of the database.

    One whose data PostgreSQL cannot give is written as a reference, which an import refuses, and logged.

    Raises `Conflict` while rows have no event yet: an import would lose them.
    """
    profile = ImiProfile(settings.prefix, settings.source)
    number = 0
    with translated():
        await conn.execute(BEGIN)
        if waiting := await rows_without_event(conn):
            raise Conflict(f"cannot export: {waiting:,} rows {WITHOUT_EVENT}")
        async for row in _history(conn, profile_of(settings).event_stream):
            if row.omission is not None:
                log.warning("event exported without its data", outbox_id=row.id, reason=row.omission.detail)
            write(profile.encode(row, NO_LIMIT).payload + b"\n")
            number += 1
        await conn.execute("COMMIT")
    return number


async def import_history(
    conn: AsyncConnection, settings: Settings, lines: Iterable[bytes], allowance: Allowance | None = None
) -> int:
    """Bring in what was exported, in one transaction; returns the number of events. None allows all there is.

    Raises `Conflict` unless the installation is empty and no publisher leads (it would publish what arrives in the
    order of ids, not in that of the file), `Invalid` naming the line that is no event, or what there is too much of.
    """
    if allowance is None:
        return await _import(conn, settings, lines)
    try:
        async with asyncio.timeout(allowance.seconds_left):
            return await _import(conn, settings, _within(allowance, lines))
    except TimeoutError:
        raise allowance.too_late() from None


async def unnamed_hosts(conn: AsyncConnection) -> list[str]:
    """Hosts that an import brought in and that no event named: they are called by their id. Raises `Unavailable`."""
    with translated():
        found = await conn.execute("SELECT name FROM public.hosts WHERE name = 'host-' || id ORDER BY name")
        return [row[0] for row in await found.fetchall()]


def _within(allowance: Allowance, lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        allowance.take(len(line))
        yield line


async def _import(conn: AsyncConnection, settings: Settings, lines: Iterable[bytes]) -> int:
    profile = profile_of(settings)
    stream = profile.event_stream
    ids: list[int] = []  # of events that go into the stream
    last_id = withheld = 0
    with translated():
        async with conn.transaction():
            (is_empty,) = await (await conn.execute(IS_EMPTY)).fetchone() or (False,)
            if not is_empty:
                raise Conflict("the registry is not empty: a history can only be imported into a new one")
            if await try_lock(conn, stream) is None:
                raise Conflict(f"a publisher leads stream {stream}: stop up or serve, then import")
            async with conn.cursor().copy(COPY_OUTBOX) as copy:
                for number, line in enumerate(lines, start=1):
                    row = _row(line, number)
                    await copy.write_row(row)
                    last_id = max(last_id, row[0])
                    if profile.publishes(row[3], row[4]):
                        ids.append(row[0])
                    else:
                        withheld += 1
            if not last_id:
                raise Unusable("there is no event to import")
            await restore_tables(conn)
            await conn.execute("SELECT setval('public.outbox_id_seq', %s)", [last_id])
            for start in range(0, len(ids), BATCH_EVENTS):
                batch = ids[start : start + BATCH_EVENTS]
                await conn.execute(RECORD, [stream, start + len(batch), range_array(runs(batch))])
            values = {"stream": stream, "last_id": last_id, "events": len(ids), "withheld": withheld}
            await conn.execute(CURSOR, values)
    return len(ids) + withheld


async def _history(conn: AsyncConnection, stream: str) -> AsyncIterator[OutboxRow]:
    """Every event that is kept: the recorded ones in their order, then those that wait.

    Where some do not go into the stream, all by their ids, which is the order of each row.
    """
    (has_withheld,) = await (await conn.execute(HAS_WITHHELD, {"stream": stream})).fetchone() or (False,)
    if has_withheld:
        async for row in every_row(conn, EVERY, {}):
            yield row
        return
    after, end = Position(0), Position(2**62)
    while places := await record.places(conn, stream, after, end):
        async for row in record.rows(conn, [place.outbox_id for place in places], EventFilter(), WHOLE_BYTES):
            yield row
        after = Position(places[-1].sequence, places[-1].outbox_id)
    async for row in every_row(conn, WAITING, {"stream": stream}):
        yield row


def _row(line: bytes, number: int) -> tuple[Any, ...]:
    """The outbox row of an envelope. Raises `Invalid`."""
    try:
        envelope = exact.loads_given(line)
        if b"\\u0000" in line:
            exact.checked(envelope, f"line {number}")
        if "dataref" in envelope:
            raise Unusable(
                f"line {number} has no data, the export could not read it; without this line the rest is taken"
            )
        outbox_id = int(envelope["sequence"])
        if not 0 < outbox_id <= MOST_ID:
            raise Unusable(f"line {number} has the sequence {outbox_id}: it must be from 1 to {MOST_ID}")
        entity, _, entity_id = envelope["subject"].partition("/")
        event_id, correlation_id = envelope["id"], envelope["correlationid"]
        # The data as it stands in the line: parsed and written again, large numbers would be others.
        data = line.rstrip(b"\n").partition(b',"data":')[2][:-1]
        return (
            outbox_id,
            envelope["transactionid"],
            event_id,
            entity,
            envelope["type"].split(".")[2],
            envelope.get("partitionkey"),
            entity_id or None,
            envelope["time"],
            envelope.get("actor"),
            None if correlation_id == event_id else correlation_id,
            envelope.get("causationid"),
            envelope.get("traceparent"),
            data.decode(),
            envelope.get("actorverified") is True,
            envelope.get("hostid"),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        reason = f": {error}" if type(error) is ValueError else ""
        raise Unusable(f"line {number} is no event that was exported: {line[:80]!r}{reason}") from None
