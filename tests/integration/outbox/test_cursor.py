"""What storing the cursor costs does not grow with the set of published ids, nor with how often it was stored."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from publisher.outbox.connection import LEADER, connect
from publisher.outbox.cursor import ADVANCE, FEW_RANGES, Batch, Cursor, Deposed, advance
from publisher.outbox.lead import try_lead
from publisher.outbox.ranges import RangeSet

STREAM = "S"
PAGE_BYTES = 8192


async def leading(conn: AsyncConnection, ranges: int) -> Cursor:
    """A cursor with so many ranges, stored whole once."""
    cursor = await try_lead(conn, STREAM, "test")
    assert cursor is not None
    for number in range(ranges):
        cursor.published.add(2 * number + 1, 2 * number + 2)
    await advance(conn, cursor)
    return cursor


async def publish(conn: AsyncConnection, cursor: Cursor) -> None:
    """One more event, behind a gap."""
    id_ = cursor.published.upper + 1
    cursor.stream_sequence += 1
    cursor.published.add(id_, id_ + 1)
    cursor.unrecorded.append(Batch(cursor.stream_sequence, [id_]))
    await advance(conn, cursor)


async def explained(conn: AsyncConnection, cursor: Cursor) -> dict[str, Any]:
    """The plan that `ADVANCE` ran without a set, and what it wrote."""
    values = {
        "published": None,
        "dead_ids": None,
        "withheld": None,
        "hindrance": None,
        "complete_sequence": cursor.complete_sequence,
        "stream_sequence": cursor.stream_sequence + 1,
        "stream": STREAM,
        "epoch": cursor.epoch,
        "place": cursor.place,
        "last_sequences": [cursor.stream_sequence + 1],
        "ids": ['{"[900000,900001)"}'],
    }
    row = await (await conn.execute(f"EXPLAIN (ANALYZE, WAL, FORMAT json) {ADVANCE}".encode(), values)).fetchone()
    assert row is not None
    return dict(row[0][0]["Plan"])


async def stored(conn: AsyncConnection) -> tuple[RangeSet, RangeSet, int, int]:
    """All that is published, what of it is in the set, and the two sequences."""
    query = """
        SELECT published_ids(cursor), published, stream_sequence, complete_sequence
        FROM publisher_cursor AS cursor
    """
    known, published, sequence, complete = await (await conn.execute(query)).fetchone() or ([], [], 0, 0)
    as_set = [RangeSet((part.lower, part.upper) for part in ranges) for ranges in (known, published)]
    return as_set[0], as_set[1], sequence, complete


@pytest.mark.parametrize("ranges", [1, FEW_RANGES + 1, 20_000])
async def test_a_batch_adds_as_much_to_the_wal_however_many_ranges_the_set_has(database: str, ranges: int) -> None:
    async with connect(database, "test", LEADER) as conn:
        cursor = await leading(conn, ranges)

        plan = await explained(conn, cursor)

        assert plan.get("WAL Bytes", 0) - PAGE_BYTES * plan.get("WAL FPI", 0) < 4000, plan


async def test_the_cursor_is_found_by_its_place_while_old_versions_cannot_go(database: str) -> None:
    async with connect(database, "test", LEADER) as conn:
        cursor = await leading(conn, 1)
        with psycopg.connect(database) as idle:
            idle.execute("SELECT pg_current_xact_id()")
            for _ in range(300):
                await publish(conn, cursor)
            plan = str(await explained(conn, cursor))

    assert "'Tid Scan'" in plan
    assert "'Index Scan'" not in plan


@pytest.mark.parametrize("ranges", [1, 100])
async def test_set_and_record_tell_all_that_is_published_after_every_batch(database: str, ranges: int) -> None:
    whole = set()
    async with connect(database, "test", LEADER) as conn:
        cursor = await leading(conn, ranges)
        for _ in range(250):
            await publish(conn, cursor)
            known, published, sequence, complete = await stored(conn)
            assert known == cursor.published
            assert sequence == cursor.stream_sequence
            assert len(known) - len(published) == sequence - complete
            whole.add(complete)
        successor = await try_lead(conn, STREAM, "another")

    assert successor is not None
    assert successor.published == cursor.published
    assert len(whole) < 5 or ranges == 1
    assert len(whole) > 1, "the set is stored in the end, so that nobody reads the whole record"


async def test_a_sequence_set_back_stores_the_whole_set(database: str) -> None:
    """What the record had behind it would be nobody's otherwise."""
    async with connect(database, "test", LEADER) as conn:
        cursor = await leading(conn, 100)
        for _ in range(5):
            await publish(conn, cursor)
        before = cursor.published.copy()
        cursor.stream_sequence = 0
        await advance(conn, cursor)
        await conn.execute("DELETE FROM published_batch")

        assert await stored(conn) == (before, before, 0, 0)


async def test_a_row_that_others_moved_is_found_again_and_one_of_another_epoch_is_not(database: str) -> None:
    async with connect(database, "test", LEADER) as conn:
        cursor = await leading(conn, 1)
        place = cursor.place
        await conn.execute("UPDATE publisher_cursor SET forgotten_sequence = 1")  # as retention does
        await publish(conn, cursor)
        assert cursor.place != place
        await conn.execute("UPDATE publisher_cursor SET epoch = epoch + 1")
        with pytest.raises(Deposed):
            await publish(conn, cursor)
