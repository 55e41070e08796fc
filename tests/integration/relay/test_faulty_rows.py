"""A row that cannot be told goes out as a reference with the reason; all others go on, and `doctor` names it."""

from __future__ import annotations

import math
from typing import Any

import orjson
import psycopg
import pytest

from publisher.doctor import examine
from publisher.history import archive
from publisher.history.verification import verify
from publisher.outbox import faults, retention, rows
from publisher.outbox.connection import LEADER, connect
from publisher.outbox.page import Unseen, next_page
from publisher.outbox.ranges import RangeSet
from registry.errors import Invalid
from tests.support.histories import row as same
from tests.support.world import World

# Ten bytes a number, and 131,000 digits each: more than 1 GiB of text.
UNREADABLE = """('{"n": [1' || repeat(', 1e131000', 8200) || ']}')::jsonb"""
FAULTS: dict[str, tuple[dict[str, str], str]] = {
    "more text than PostgreSQL can make": ({"data": UNREADABLE}, "unreadable"),
    "data is no object": ({"data": "'[1]'"}, "invalid"),
    "data is null": ({"data": "'null'"}, "invalid"),
    "infinity": ({"occurred_at": "'infinity'"}, "invalid_time"),
    "minus infinity": ({"occurred_at": "'-infinity'"}, "invalid_time"),
    "before the year 1": ({"occurred_at": "'0044-03-15 BC'"}, "invalid_time"),
    "behind the year 9999": ({"occurred_at": "'10001-01-01'"}, "invalid_time"),
    "an entity that no subject can have": ({"entity": "'a b.*>' || chr(10)"}, "invalid"),
    "an action without end": ({"action": "repeat('x', 100000)"}, "invalid"),
}


def insert(conn: psycopg.Connection[Any], **columns: str) -> None:
    """A row of the outbox; values are SQL."""
    given = {"entity": "'project'", "action": "'updated'", "data": "'{\"a\": 1}'"} | columns
    text = f"INSERT INTO outbox ({', '.join(given)}) VALUES ({', '.join(given.values())})"  # noqa: S608  # of constants
    conn.execute(text.encode())


async def test_a_faulty_row_goes_out_as_a_reference_and_the_others_whole(world: World, profile: str) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        insert(conn)
        for columns, _ in FAULTS.values():
            insert(conn, **columns)
            insert(conn)

    async with world.relay() as metrics:
        await world.drained()

    messages = await world.published()
    assert [int(message.headers["Imi-Outbox-Id"]) for message in messages] == list(range(1, 2 * len(FAULTS) + 2))
    reasons = [message.envelope.get("datarefreason") for message in messages]
    assert reasons[0::2] == [None] * (len(FAULTS) + 1)
    assert reasons[1::2] == [reason for _, reason in FAULTS.values()]
    for message in messages:
        is_reference = "datarefreason" in message.envelope
        has_data = not is_reference or profile == "bloodbank"  # there it is an object, always: the ids of what changed
        assert ("data" in message.envelope, "dataref" in message.envelope) == (has_data, is_reference)
    assert metrics.faulty == len(FAULTS)


async def test_doctor_names_the_faulty_rows_until_retention_removes_them(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        for columns, _ in FAULTS.values():
            insert(conn, **columns)
        async with world.relay():
            await world.drained()

        found = [finding for finding in await examine(world.settings()) if "went out without its data" in finding.text]
        assert [finding.text.split(", ")[0] for finding in found] == [f"event {n}" for n in range(1, len(FAULTS) + 1)]
        assert [finding.is_well for finding in found] == [reason != "unreadable" for _, reason in FAULTS.values()]
        assert "(unreadable): string buffer exceeds" in found[0].text or "(unreadable): out of memory" in found[0].text

        conn.execute("UPDATE published_batch SET published_at = '2000-01-01'")
        async with connect(world.database, "test", LEADER) as reader:
            await retention.remove_old(reader, retention.timedelta(days=1))
            assert await faults.noted(reader, 10) == []
        assert conn.execute("SELECT count(*) FROM outbox_fault").fetchone() == (0,)


async def test_a_replay_tells_a_faulty_row_as_the_stream_did(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        for columns, _ in FAULTS.values():
            insert(conn, **columns)
            insert(conn)

    async with world.relay(), world.history():
        await world.drained()
        from_stream = await world.replayed()
        await world.trim(len(from_stream))
        from_outbox = await world.replayed()

    assert len(from_stream) == 2 * len(FAULTS)
    assert same(from_outbox) == same(from_stream)


async def test_an_export_goes_on_over_a_row_that_cannot_be_read_and_an_import_names_its_line(
    world: World, second: World
) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        insert(conn, entity="'activity'")
        insert(conn, data=UNREADABLE)
        insert(conn, entity="'activity'")

    lines: list[bytes] = []
    async with connect(world.database, "test") as reader:
        assert await archive.export_history(reader, world.settings(), lines.append) == 3

    assert ["dataref" in orjson.loads(line) for line in lines] == [False, True, False]
    async with connect(second.database, "test") as writer:
        with pytest.raises(Invalid, match="line 2 has no data"):
            await archive.import_history(writer, second.settings(), lines)
    assert (await verify(world.settings())).differences[0].startswith("event 2, project.updated: data cannot be read")


async def test_a_query_that_fails_over_one_row_is_asked_again_without_data(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        insert(conn)
        insert(conn, data=UNREADABLE)

    async with connect(world.database, "test", LEADER) as reader:
        page = await next_page(reader, Unseen.outside(RangeSet()), 10, short_bytes=2**20)
        read = [await rows.with_data(reader, row, 2**20) for row in page.rows]

    assert [row.data for row in page.rows] == [None, None]
    assert [row.data for row in read] == ['{"a": 1}', None]


async def test_the_text_of_a_value_has_at_least_a_fifth_of_its_bytes(database: str) -> None:
    """What `rows.WHOLE` takes as too large without a look."""
    shapes = ["0", "1", "-0.1", '""', '"a"', "{}", "[]", "[0]", "null", '{"a": 0}', '["a", 0]', "12345", "1e-30"]
    ratio = """
        SELECT pg_column_size(value #> '{}')::float8 / octet_length(value::text)
        FROM (SELECT jsonb_agg(%s::jsonb) AS value FROM generate_series(1, 20000)) AS large
    """
    with psycopg.connect(database) as conn:
        found = {shape: (conn.execute(ratio, [shape]).fetchone() or (math.inf,))[0] for shape in shapes}

    assert max(found.values()) < 4.1, found


@pytest.mark.parametrize("size", [2**20, 2**20 + 1, 3 * 2**20 - 1])
async def test_a_row_read_in_slices_is_the_row(database: str, size: int) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        insert(conn, data=f"jsonb_build_object('k', repeat('é', {size // 2}) || 'x')")
        (text,) = conn.execute("SELECT data::text FROM outbox").fetchone() or ("",)

    async with connect(database, "test", LEADER) as reader:
        (row,) = (await next_page(reader, Unseen.outside(RangeSet()), 1)).rows
        length = len(text.encode())
        exactly, less = [await rows.with_data(reader, row, most) for most in (length, length - 1)]

    assert exactly.data == text
    assert (less.data, less.omission.reason if less.omission else "") == (None, "too_large")
