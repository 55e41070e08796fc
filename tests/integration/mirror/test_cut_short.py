"""Applying that is cut short: whether it was committed is known to PostgreSQL alone."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from publisher.mirror.batch import Batch
from publisher.mirror.source import connect_source
from publisher.outbox.connection import READER, connect
from registry.client.replay import replay
from registry.errors import Conflict
from registry.position import After
from tests.support.mirror.mirrors import Mirror
from tests.support.proxy import Direction, postgres_proxy
from tests.support.world import World

NAME = "who is cut short"
WAITS = f"SELECT FROM pg_stat_activity WHERE application_name = '{NAME}' AND wait_event_type = 'Lock'"


async def read(source: World, mirror: Mirror) -> Batch:
    """What the source published since the mirror was caught up, and the mirror has not."""
    async with mirror.following():
        await mirror.caught_up()
    source.write()
    await source.drained()
    batch = Batch(*mirror.state("position", "sequence"))
    async with (
        connect_source(mirror.settings(), NAME) as there,
        replay(there.client, there.profile, After(batch.position)) as events,
    ):
        async for event in events:
            await batch.add(event, there)
    return batch


async def test_what_was_committed_unheard_is_neither_taken_as_known_nor_applied_again(
    source: World, mirror: Mirror
) -> None:
    batch = await read(source, mirror)
    async with postgres_proxy(mirror.database) as (proxy, through), connect(through, NAME, READER) as conn:

        def answers_no_values(direction: Direction, data: bytes) -> bool:
            if direction == "to_server" and batch.position.encode() in data:
                proxy.black_hole("to_client")
            return False

        proxy.swallow = answers_no_values
        applying = asyncio.create_task(batch.apply(conn, is_complete=True))
        await mirror.until("sequence", batch.sequence + 1)
        applying.cancel()
        proxy.go_on()
        with pytest.raises(asyncio.CancelledError):
            await applying

        assert not await batch.know(conn)
        with pytest.raises(Conflict, match="no longer where this process left it"):
            await batch.apply(conn, is_complete=True)
    async with mirror.following():
        await mirror.assert_same()
    assert mirror.state("snapshots") == (1,)


async def test_what_was_not_committed_is_applied_afterwards(source: World, mirror: Mirror) -> None:
    batch = await read(source, mirror)
    async with connect(mirror.database, NAME, READER) as conn:
        with psycopg.connect(mirror.database) as other:
            other.execute("SELECT FROM mirror_source FOR UPDATE")
            applying = asyncio.create_task(batch.apply(conn, is_complete=True))
            async with asyncio.timeout(20):
                while not other.execute(WAITS).fetchall():
                    await asyncio.sleep(0.02)
            applying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await applying

        assert not await batch.know(conn)
        await batch.apply(conn, is_complete=True)
        assert await batch.know(conn)
    await mirror.assert_same()
