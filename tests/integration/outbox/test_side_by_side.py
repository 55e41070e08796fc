"""The relay's connection at work for two: a page is read while the heartbeat is stored, and the cursor behind it."""

from __future__ import annotations

import asyncio

import psycopg

from publisher.outbox.connection import LEADER, connect
from publisher.outbox.cursor import Batch, advance
from publisher.outbox.lead import try_lead
from publisher.outbox.rows import fetch
from tests.support.world import World

SLOW = "SELECT pg_sleep(0.2)"
FAILS_OVER_A_VALUE = "SELECT CASE WHEN %(short)s::bigint >= 0 THEN 1 / (random()::int * 0) END"


async def test_a_page_that_fails_over_a_value_takes_back_nothing_that_was_stored_meanwhile(world: World) -> None:
    async with connect(world.database, "imi-registry test", LEADER) as conn:
        cursor = await try_lead(conn, world.stream, "test")
        assert cursor is not None
        await advance(conn, cursor)
        cursor.stream_sequence = 1
        cursor.unrecorded.append(Batch(1, [1]))
        cursor.published.add_all([1])

        # when: somebody else is at work on the connection as the page is asked for, and the cursor comes behind it
        at_work = asyncio.create_task(conn.execute(SLOW))
        while conn.info.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
            await asyncio.sleep(0)
        asked = asyncio.create_task(fetch(conn, FAILS_OVER_A_VALUE, {}, 4096))
        await asyncio.sleep(0)
        await advance(conn, cursor)

        assert await asked == [(None,)]
        await at_work
    assert world.rows("SELECT stream_sequence FROM publisher_cursor") == [(1,)]
    assert world.rows("SELECT last_sequence FROM published_batch") == [(1,)]
