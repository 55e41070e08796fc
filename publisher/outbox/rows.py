"""Rows of the outbox: the columns that make an `OutboxRow`, how they are read in few bytes, and which events it holds.

A query gives the data of rows that have little; the others are read one by one. So whatever a row holds, neither the
client nor a statement holds much at once. The argument: docs/adr/0008-rows-of-any-size.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int4, Int8

from publisher.outbox.connection import translated
from registry.database.errors import from_database, is_of_a_value
from registry.events.message import FIRST_TIME, LAST_TIME, OutboxRow
from registry.events.reference import TOO_LARGE, UNREADABLE, Omission

WHOLE_BYTES = 2**30
"""PostgreSQL makes no text larger than this."""
SLICE_BYTES = 1024 * 1024
DETAIL_CHARACTERS = 500

# The data of the row `event` as text, where that is no more than %(short)s bytes; else NULL, or text that turns out to
# be longer. What was compressed may be a hundred times larger: so decompress only what is small, and look at its size
# before it becomes text, which takes far longer.
SHORT_DATA = """
    CASE
        WHEN pg_column_size(event.data) > %(short)s THEN NULL
        WHEN pg_column_compression(event.data) IS NULL THEN event.data::text
        WHEN pg_column_size(event.data) > %(short)s / 4 THEN NULL
        WHEN pg_column_size(event.data #> '{}') <= %(short)s THEN event.data::text
    END AS short_data
"""

# An `OutboxRow` of the row `event` with its `short_data`, which a subquery with OFFSET 0 makes: so it is made once.
COLUMNS = f"""
    event.id,
    event.transaction_id::text::bigint,
    event.event_id::text,
    left(event.entity, 101),
    left(event.action, 101),
    event.project_id::text,
    event.entity_id::text,
    to_char(
        least(greatest(event.occurred_at, '{FIRST_TIME}'), '{LAST_TIME}') AT TIME ZONE 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
    ),
    event.actor,
    event.correlation_id::text,
    event.causation_id::text,
    left(event.traceparent, 100),
    CASE WHEN octet_length(event.short_data) <= %(short)s THEN event.short_data END,
    event.actor_is_verified,
    event.host_id::text
"""

# A value of jsonb has at most four times the bytes of its text (an array of zeros), so one that has more than five
# times as many as wanted is too large without a look. The other way there is no bound: 1e131000 takes ten bytes.
#
# The text comes in slices, as bytes: libpq would keep two more copies of a value that comes as one.
WHOLE = """
SELECT substring(event.text FROM slice.start FOR %(slice)s)
FROM (
    SELECT CASE
        WHEN pg_column_size(outbox.data) > 5 * %(most)s THEN NULL
        WHEN pg_column_size(outbox.data #> '{}') <= 5 * %(most)s THEN convert_to(outbox.data::text, 'UTF8')
    END AS text
    FROM public.outbox
    WHERE outbox.id = %(id)s
    OFFSET 0
) AS event
LEFT JOIN LATERAL generate_series(1, octet_length(event.text), %(slice)s) AS slice (start)
    ON octet_length(event.text) <= %(most)s
"""

KNOWN = """
SELECT known.id, known.event_id::text
FROM unnest(%(ids)s::bigint[], %(event_ids)s::uuid[]) AS known (id, event_id)
JOIN public.outbox USING (id, event_id)
"""


async def fetch(conn: AsyncConnection, query: str, values: dict[str, Any], short_bytes: int) -> list[tuple[Any, ...]]:
    """The rows that `query` finds, with data where that is at most `short_bytes`; `query` selects `COLUMNS`.

    When it fails over one row, no row has data: each is then read alone. Raises `Unavailable`.
    """
    try:
        async with _savepoint(conn):
            return await _run(conn, query, values | {"short": Int8(short_bytes)})
    except UnicodeDecodeError:
        pass
    except psycopg.Error as error:
        if not is_of_a_value(error):
            raise from_database(error) from error
    with translated():
        return await _run(conn, query, values | {"short": Int8(-1)})


async def with_data(conn: AsyncConnection, row: OutboxRow, max_bytes: int) -> OutboxRow:
    """`row` with its data, or with the omission that tells why it has none: it is larger, or cannot be read.

    Raises `Unavailable`.
    """
    if row.data is not None or row.omission is not None:
        return row
    try:
        async with _savepoint(conn):
            text = await _whole(conn, row.id, min(max_bytes, WHOLE_BYTES))
    except UnicodeDecodeError as error:
        return row._replace(omission=Omission(UNREADABLE, str(error)[:DETAIL_CHARACTERS]))
    except psycopg.Error as error:
        if not is_of_a_value(error):
            raise from_database(error) from error
        detail = f"{error.diag.message_primary} (SQLSTATE {error.sqlstate})"
        return row._replace(omission=Omission(UNREADABLE, detail[:DETAIL_CHARACTERS]))
    if text is None:
        return row._replace(omission=Omission(TOO_LARGE, f"its text has more than {max_bytes} bytes"))
    if not text:
        return row._replace(omission=Omission(UNREADABLE, "the row was removed before it was published"))
    return row._replace(data=text)


async def known_events(conn: AsyncConnection, pairs: Iterable[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of (outbox id, event id) `pairs` that this database's outbox holds together."""
    pairs = list(pairs)
    ids = [outbox_id for outbox_id, _ in pairs]
    event_ids = [event_id for _, event_id in pairs]
    with translated():
        found = await conn.execute(KNOWN, {"ids": ids, "event_ids": event_ids})
        return {(outbox_id, event_id) for outbox_id, event_id in await found.fetchall()}


async def _whole(conn: AsyncConnection, outbox_id: int, most: int) -> str | None:
    """The data of one row as text; None when it has more than `most` bytes, empty when there is no such row."""
    text = bytearray()
    values = {"id": Int8(outbox_id), "most": Int8(most), "slice": Int4(SLICE_BYTES)}
    async with conn.cursor(binary=True) as cursor:
        async for (part,) in cursor.stream(WHOLE, values, binary=True):
            if part is None:
                return None
            text += part
    return text.decode()


async def _run(conn: AsyncConnection, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    async with conn.cursor(binary=True) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


@asynccontextmanager
async def _savepoint(conn: AsyncConnection) -> AsyncIterator[None]:
    """Keeps an open transaction alive over an error inside the block.

    Outside of one nothing is needed, and must not be begun: what another task does on `conn` meanwhile would be part of
    it. (A session that is merely at work is in none, or its work is not that of whoever asks here.)
    """
    if conn.info.transaction_status != TransactionStatus.INTRANS:
        yield
        return
    async with conn.transaction():
        yield
