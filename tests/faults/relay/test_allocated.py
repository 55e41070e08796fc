"""How many outbox ids are handed out: never more than there are, however busy the sequence is.

An id that is taken for handed out, and is not yet, would be taken for dead once all transactions that could own it have
ended; the event that gets it later would never be published.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import psycopg
import pytest

from publisher.outbox.connection import LEADER, connect
from publisher.outbox.page import Unseen, next_page
from publisher.outbox.ranges import RangeSet

# Slower than a page is read: an id that a page knows of too early is not handed out by then.
HAND_OUT = """
DO $$
BEGIN
    FOR number IN 1..1000 LOOP
        PERFORM nextval('outbox_id_seq'), pg_sleep(0.00002);
    END LOOP;
END
$$
"""
HANDED_OUT = "SELECT pg_sequence_last_value('outbox_id_seq')"


async def hand_out(database: str, until: asyncio.Event) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
        while not until.is_set():
            await conn.execute(HAND_OUT)


ROOT = Path(__file__).parents[3]
AS_A_TABLE = re.compile(r"(FROM|JOIN)\s+(public\.)?outbox_id_seq", re.IGNORECASE)


def test_nothing_reads_the_sequence_as_a_table() -> None:
    """PostgreSQL shows there, for the microsecond in which a writer logs the next 32 ids, that they are handed out."""
    code = [path for package in ("publisher", "registry") for path in (ROOT / package).rglob("*.py")]
    readers = [
        path.name for path in [*code, *(ROOT / "migrations").glob("*.sql")] if AS_A_TABLE.search(path.read_text())
    ]
    assert readers == []


@pytest.mark.long
async def test_a_page_never_knows_of_ids_that_nobody_has(database: str) -> None:
    stop = asyncio.Event()
    async with connect(database, "pages", LEADER) as conn, asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(hand_out(database, stop))
        try:
            for _ in range(100_000):
                page = await next_page(conn, Unseen.outside(RangeSet([(1, 2**62)])), 1)
                row = await (await conn.execute(HANDED_OUT)).fetchone()
                assert row is not None
                assert page.allocated <= (row[0] or 0)
        finally:
            stop.set()
