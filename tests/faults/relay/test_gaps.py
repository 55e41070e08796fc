"""When a missing outbox id may be called dead: never while a transaction that holds it can still commit."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection

from registry.subjects import Names
from tests.support.world import World


async def touch(conn: AsyncConnection, project: UUID) -> None:
    """Take the next outbox id, for an event of this project."""
    await conn.execute("UPDATE projects SET description = gen_random_uuid()::text WHERE id = %s", [project])


async def projects(database: str, count: int) -> list[UUID]:
    """New projects."""
    found = []
    async with await AsyncConnection.connect(database, autocommit=True) as conn:
        for number in range(count):
            query = "SELECT register_project('p', %s)"
            row = await (await conn.execute(query, [f"git@github.com:owner/p{number}.git"])).fetchone()
            assert row is not None
            found.append(row[0])
    return found


async def one_row(conn: AsyncConnection, query: str, *values: object) -> tuple[Any, ...]:
    row = await (await conn.execute(query, values)).fetchone()
    assert row is not None
    return row


async def published_ids(conn: AsyncConnection, prefix: str) -> Any:
    query = "SELECT published FROM publisher_cursor WHERE stream = %s"
    return (await one_row(conn, query, Names(prefix).event_stream))[0]


async def until_in_published(conn: AsyncConnection, prefix: str, outbox_id: int) -> None:
    async with asyncio.timeout(20):
        while not any(outbox_id in part for part in await published_ids(conn, prefix)):
            await asyncio.sleep(0.005)


async def until_asleep(conn: AsyncConnection) -> None:
    """Wait until the relay's connection has been idle for longer than the relay ever pauses between two polls."""
    query = """
        SELECT state = 'idle' AND clock_timestamp() - state_change > interval '0.3 s'
        FROM pg_stat_activity
        WHERE datname = current_database()
            AND application_name LIKE 'imi-registry%%'
            AND application_name <> 'imi-registry doorbell'
    """
    async with asyncio.timeout(20):
        while await one_row(conn, query) != (True,):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("is_first_look_ours", [True, False], ids=["the relay's rule", "the naive rule"])
async def test_ids_held_by_transactions_beyond_the_snapshots_xmax_are_not_called_dead(
    world: World, is_first_look_ours: bool
) -> None:
    p = await projects(world.database, 3)
    connect = AsyncConnection.connect

    async with (
        await connect(world.database) as c,
        await connect(world.database) as a,
        await connect(world.database) as b,
        await connect(world.database, autocommit=True) as observer,
        world.relay(heartbeat_seconds=3600),
    ):
        await world.assert_exactly_once()
        await until_asleep(observer)  # it completes no transaction of its own then
        if not is_first_look_ours:
            await observer.execute("SELECT setval('publisher_doorbell', 0)")
        # Transaction ids in the order c, a, b; outbox ids in the order a, b, c. Only c commits.
        await c.execute("SELECT pg_current_xact_id()")
        await touch(a, p[0])
        await touch(b, p[1])
        await touch(c, p[2])
        (last,) = await one_row(c, "SELECT max(id) FROM outbox")
        if is_first_look_ours:
            await c.commit()
            await until_in_published(observer, world.prefix, last)
        else:
            await c.commit()
            # The naive rule: dead once xmin has reached the xmax of the snapshot that showed the gap first. xmax is
            # the highest *completed* transaction id plus one, so that holds at first sight, with a and b running.
            query = """
                SELECT pg_snapshot_xmin(s) >= pg_snapshot_xmax(s), (SELECT array_agg(id) FROM outbox WHERE id > %s)
                FROM pg_current_snapshot() AS s
            """
            naively_dead, visible = await one_row(observer, query, last - 3)
            assert visible == [last]
            assert naively_dead
            await observer.execute("SELECT pg_notify('imi_outbox', '')")
            await until_in_published(observer, world.prefix, last)
        for held in (last - 2, last - 1):
            assert not any(held in part for part in await published_ids(observer, world.prefix))
        await a.commit()
        await until_in_published(observer, world.prefix, last - 2)
        assert not any(last - 1 in part for part in await published_ids(observer, world.prefix))
        await b.commit()
        await world.assert_exactly_once(at_least=6)


async def test_a_gap_of_a_rolled_back_transaction_closes_without_any_later_event(world: World) -> None:
    p = await projects(world.database, 2)

    async with (
        await AsyncConnection.connect(world.database) as undone,
        await AsyncConnection.connect(world.database) as done,
        world.relay(heartbeat_seconds=3600),
    ):
        await touch(undone, p[0])
        await touch(done, p[1])
        await done.commit()
        await undone.rollback()
        await world.assert_exactly_once(at_least=3)


async def test_a_long_transaction_delays_its_own_events_alone(world: World) -> None:
    p = await projects(world.database, 2)

    async with (
        await AsyncConnection.connect(world.database) as long,
        await AsyncConnection.connect(world.database, autocommit=True) as short,
        world.relay(heartbeat_seconds=3600),
    ):
        await touch(long, p[0])
        for _ in range(50):
            await touch(short, p[1])
            (last,) = await one_row(short, "SELECT max(id) FROM outbox")
            await until_in_published(short, world.prefix, last)
        gaps = [(part.lower, part.upper) for part in await published_ids(short, world.prefix)]
        assert gaps == [(1, 3), (4, last + 1)]
        await long.commit()
        await world.assert_exactly_once(at_least=53)


async def test_gaps_survive_a_change_of_the_leader(world: World) -> None:
    p = await projects(world.database, 2)

    async with (
        await AsyncConnection.connect(world.database) as long,
        await AsyncConnection.connect(world.database, autocommit=True) as short,
    ):
        async with world.relay():
            await touch(long, p[0])
            await touch(short, p[1])
            await until_in_published(short, world.prefix, 4)
        async with world.relay():
            await touch(short, p[1])
            await until_in_published(short, world.prefix, 5)
            assert not any(3 in part for part in await published_ids(short, world.prefix))
            await long.commit()
            await world.assert_exactly_once(at_least=5)


async def test_a_transaction_open_in_another_database_delays_no_event(world: World, admin_url: str) -> None:
    p = await projects(world.database, 1)

    with psycopg.connect(admin_url) as elsewhere:
        elsewhere.execute("SELECT pg_current_xact_id()")
        async with (
            await AsyncConnection.connect(world.database, autocommit=True) as conn,
            world.relay(),
        ):
            await touch(conn, p[0])
            (last,) = await one_row(conn, "SELECT max(id) FROM outbox")
            await until_in_published(conn, world.prefix, last)
        elsewhere.rollback()

    async with world.relay():
        await world.assert_exactly_once(at_least=2)
