"""Whole snapshots, for mirrors: every table of the registry with every column, and which registry it is.

A line is one that COPY takes: the name of the table, a tab, the row as JSON. A row that is not short is read alone, in
slices, so the publisher holds a chunk and a slice, whatever the row (docs/adr/0008-rows-of-any-size.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from psycopg import AsyncConnection

from publisher.history.snapshot import BEGIN, SHORT_BYTES, SLICE_BYTES, position_now
from publisher.outbox.connection import translated
from registry.history.site import END, Site, WholeHead

TABLES = (
    "hosts",
    "worktree_types",
    "projects",
    "project_aliases",
    "project_hosts",
    "worktrees",
    "deleted_worktrees",
    "agent_activities",
    "registry_metadata",
)
"""In this order. What machine a host is, is nobody's business; of the registry, a mirror goes on with one setting."""

SITE = """
SELECT
    known.registry_id,
    public.registry_life(),
    public.registry_epoch(),
    known.migration,
    coalesce((SELECT stream_sequence FROM public.publisher_cursor WHERE stream = %(stream)s), 0),
    coalesce(pg_sequence_last_value('public.outbox_id_seq'), 0)
FROM public.registry_metadata AS known
"""

# A long row is told by its place, which is the same all through the transaction's snapshot. Its table is part of that:
# each month of a log by month has rows at the same places.
SHORT_ROWS = """
COPY (
    SELECT
        '{table}',
        CASE WHEN octet_length(line.text) <= {short} THEN line.text ELSE line.place END
    FROM (
        SELECT t.tableoid::text || ' ' || t.ctid::text AS place, ({row})::text AS text
        FROM public.{table} AS t
        OFFSET 0
    ) AS line
) TO STDOUT
"""
LONG_ROW = """
SELECT substring(line.text FROM slice.start FOR {slice})
FROM (
    SELECT convert_to(({row})::text, 'UTF8') AS text
    FROM public.{table} AS t
    WHERE t.tableoid = %s::oid AND t.ctid = %s::tid
    OFFSET 0
) AS line
CROSS JOIN LATERAL generate_series(1, octet_length(line.text), {slice}) AS slice (start)
"""
ROWS = {
    "hosts": "to_jsonb(t) - 'machine'",
    "registry_metadata": "jsonb_build_object('derived_ids', t.derived_ids)",
}
ROW = "row_to_json(t)"


async def read_site(conn: AsyncConnection[Any], stream: str) -> Site:
    """Which registry this is, and how far it has published to `stream`."""
    row = await (await conn.execute(SITE, {"stream": stream})).fetchone()
    return Site(*row or ())


async def whole_lines(conn: AsyncConnection, stream: str) -> AsyncIterator[bytes]:
    """The lines of a whole snapshot, in pieces of one or less, in a transaction of its own."""
    with translated():
        await conn.execute(BEGIN)
        yield WholeHead(await position_now(conn, stream), await read_site(conn, stream)).encode()
        for table in TABLES:
            async for piece in _lines_of(conn, table):
                yield piece
        await conn.execute("COMMIT")
    yield END[1:]


async def _lines_of(conn: AsyncConnection, table: str) -> AsyncIterator[bytes]:
    places: list[str] = []
    row = ROWS.get(table, ROW)
    query = SHORT_ROWS.format(table=table, row=row, short=SHORT_BYTES)
    begin = f"{table}\t".encode()
    async with conn.cursor().copy(query.encode()) as lines:
        async for line in lines:
            if bytes(line[len(begin) : len(begin) + 1]) == b"{":
                yield bytes(line)
            else:
                places.append(bytes(line)[len(begin) :].decode().strip())
    query = LONG_ROW.format(table=table, row=row, slice=SLICE_BYTES)
    for place in places:
        yield begin
        async with conn.cursor(binary=True) as cursor:
            async for (part,) in cursor.stream(query.encode(), place.split(), binary=True):
                yield bytes(part).replace(b"\\", b"\\\\")
        yield b"\n"
