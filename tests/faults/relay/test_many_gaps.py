"""Thousands of gaps: they are not read, sent or stored with each batch, and nothing is lost or doubled by that."""

from __future__ import annotations

import asyncio
import random

import pytest
from psycopg import AsyncConnection

from publisher.outbox import cursor
from publisher.relay import gaps
from tests.support.outbox.gaps import KNOWN, idle, is_published, register, touch, until_published, write_with_gaps
from tests.support.proxy import nats_proxy, postgres_proxy
from tests.support.relay_process import RelayProcess
from tests.support.workload import writing
from tests.support.world import World


async def test_behind_many_gaps_a_batch_is_published_without_the_set_being_stored(world: World) -> None:
    project = register(world, "busy")
    async with await AsyncConnection.connect(world.database, autocommit=True) as conn, idle(world) as long:
        await write_with_gaps(conn, project, 3000)
        async with world.relay():
            await until_published(world)
        async with world.relay() as metrics:
            before = world.rows(KNOWN, world.stream)[0]
            for _ in range(20):
                await touch(conn, project)
                await until_published(world)
            after = world.rows(KNOWN, world.stream)[0]
            assert len(before[1]) > 2000, "the gaps are in the set"
            assert after[1] == before[1]
            assert after[2] == before[2] + 20
            assert after[3] == before[3]
            await long.commit()
            await world.assert_exactly_once(at_least=3020)
            assert metrics.waiting_ids == 0
        ((published, stored, sequence, complete),) = world.rows(KNOWN, world.stream)
        assert (len(published), stored, complete) == (1, published, sequence)


async def test_transactions_that_end_in_any_order_beside_many_gaps_lose_nothing(world: World) -> None:
    """Each holds ids in the middle of the gaps, some in a subtransaction; a row shows up where nobody reads."""
    busy = register(world, "busy")
    projects = [register(world, f"p{number}") for number in range(6)]
    rng = random.Random(6)
    async with (
        await AsyncConnection.connect(world.database, autocommit=True) as conn,
        idle(world) as long,
        world.relay(),
    ):
        held = []
        for number, project in enumerate(projects):
            await write_with_gaps(conn, busy, 300)
            other = await AsyncConnection.connect(world.database)
            await touch(other, project)
            if number % 2:
                async with other.transaction():
                    await touch(other, project)
            held.append(other)
        await until_published(world)
        rng.shuffle(held)
        for number, other in enumerate(held):
            await (other.rollback() if number == 2 else other.commit())
            await other.close()
            await touch(conn, busy)
            await until_published(world)
            (await world.audit()).assert_clean(at_least=1800)
        await long.commit()
        await world.assert_exactly_once(at_least=1810)


async def test_a_long_transaction_with_thousands_of_events_of_its_own_is_published_in_order(world: World) -> None:
    """Its rows appear in more gaps than are read at once, while others go on."""
    busy, own = register(world, "busy"), register(world, "own")
    async with (
        await AsyncConnection.connect(world.database, autocommit=True) as conn,
        await AsyncConnection.connect(world.database) as long,
        world.relay(),
    ):
        for _ in range(60):
            await write_with_gaps(long, own, 50)
            await touch(conn, busy)
        await until_published(world)
        await long.commit()
        await touch(conn, own)
        await world.assert_exactly_once(at_least=3060)


@pytest.mark.parametrize("kills", [10, pytest.param(60, marks=pytest.mark.long)])
async def test_kills_at_any_step_beside_many_gaps_lose_double_and_reorder_nothing(world: World, kills: int) -> None:
    project = register(world, "busy")
    rng = random.Random(kills)
    killed = 0
    async with (
        await AsyncConnection.connect(world.database, autocommit=True) as conn,
        postgres_proxy(world.database) as (postgresql, database),
        nats_proxy(world.nats_url) as (nats, nats_url),
        idle(world) as long,
    ):
        await write_with_gaps(conn, project, 2000)
        through = world.at(database=database, nats_url=nats_url)
        for _ in range(kills):
            with through.process(heartbeat_seconds=3600, stale_seconds=7200) as relay:
                await relay.ready()
                await until_published(world)
                proxy = rng.choice([postgresql, nats])
                proxy.stop_at(
                    rng.randint(1, 12 if proxy is postgresql else 3), rng.choice(["before", "after"]), relay.kill
                )
                await touch(conn, project)
                await write_with_gaps(conn, project, 2)
                await until_published_or_killed(world, relay)
                killed += not relay.is_running
            for each in (postgresql, nats):
                each.go_on()
        async with world.relay():
            await until_published(world)
            (await world.audit()).assert_clean(at_least=2000)
            await long.commit()
            found = await world.assert_exactly_once(at_least=2000 + 3 * kills)
    assert found.events >= 2000 + 3 * kills
    assert killed > kills / 2


async def until_published_or_killed(world: World, relay: RelayProcess) -> None:
    async with asyncio.timeout(60):
        while relay.is_running and not await asyncio.to_thread(is_published, world):
            await asyncio.sleep(0.01)


async def test_with_every_limit_at_its_lowest_leaders_that_change_under_load_lose_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What thousands of gaps bring about, a few do: settled, read a few at a time, a set that is hardly ever stored."""
    monkeypatch.setattr(gaps, "FEW", 0)
    monkeypatch.setattr(gaps, "MOST_AT_ONCE", 2)
    monkeypatch.setattr(cursor, "FEW_RANGES", 1)
    rng = random.Random(1)
    async with writing(world.database, writers=8, seed=11) as load:
        for _ in range(8):
            async with world.relay(heartbeat_seconds=0.2):
                await load.reach(commits=rng.randrange(5, 40))
    async with world.relay():
        await world.drained(60)
    found = await world.audit()
    found._replace(split=[]).assert_clean()
