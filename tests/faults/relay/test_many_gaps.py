"""Thousands of gaps: they are not read, sent or stored with each batch, and nothing is lost or doubled by that."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import orjson
import psycopg
import pytest
from psycopg import AsyncConnection

from publisher import doctor
from publisher.history import archive
from publisher.history.snapshot import snapshot_lines
from publisher.outbox import cursor, record
from publisher.outbox.connection import connect
from publisher.outbox.lead import try_lead
from publisher.relay import gaps
from registry.position import Position
from tests.support.proxy import nats_proxy, postgres_proxy
from tests.support.relay_process import RelayProcess
from tests.support.workload import writing
from tests.support.world import World

WRITE_WITH_GAPS = """
DO $$
BEGIN
    FOR number IN 1..{count} LOOP
        UPDATE projects SET description = gen_random_uuid()::text WHERE id = '{project}';
        PERFORM nextval('outbox_id_seq');  -- as one that is rolled back
    END LOOP;
END
$$
"""
KNOWN = """
SELECT public.published_ids(cursor), published, stream_sequence, complete_sequence
FROM publisher_cursor AS cursor
WHERE stream = %s
"""


def register(world: World, name: str) -> UUID:
    ((project,),) = world.rows("SELECT register_project('p', %s)", f"git@github.com:owner/{name}.git")
    assert isinstance(project, UUID)
    return project


async def touch(conn: AsyncConnection, project: UUID) -> None:
    await conn.execute("UPDATE projects SET description = gen_random_uuid()::text WHERE id = %s", [project])


async def write_with_gaps(conn: AsyncConnection, project: UUID, count: int) -> None:
    """So many events, and a gap behind each of them."""
    await conn.execute(WRITE_WITH_GAPS.format(count=count, project=project))


def is_published(world: World) -> bool:
    """Whether everything is that is visible."""
    query = """
        SELECT published_ids(cursor) @> (SELECT range_agg(int8range(id, id + 1)) FROM outbox)
        FROM publisher_cursor AS cursor
        WHERE stream = %s
    """
    return world.rows(query, world.stream) == [(True,)]


async def until_published(world: World) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(is_published, world):
            await asyncio.sleep(0.02)


@asynccontextmanager
async def idle(world: World, name: str = "idle") -> AsyncIterator[AsyncConnection]:
    """A transaction that has an outbox id and stays open."""
    project = register(world, name)
    async with await AsyncConnection.connect(world.database) as conn:
        await touch(conn, project)
        yield conn


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


async def test_who_takes_over_ten_thousand_gaps_knows_what_is_published(world: World) -> None:
    project = register(world, "busy")
    async with await AsyncConnection.connect(world.database, autocommit=True) as conn, idle(world) as long:
        await write_with_gaps(conn, project, 10_000)
        async with world.relay():
            await until_published(world)
        async with world.relay():
            for _ in range(5):
                await write_with_gaps(conn, project, 1)
                await until_published(world)
        ((published, stored, sequence, complete),) = world.rows(KNOWN, world.stream)
        assert complete < sequence, "the record tells what is not in the set that is stored"
        assert len(published) - len(stored) == 5
        async with world.relay() as metrics:
            await touch(conn, project)
            await until_published(world)
            assert metrics.published == 1
            await long.commit()
            await world.assert_exactly_once(at_least=10_007)


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
            with through.process(heartbeat_seconds=3600) as relay:
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


async def test_what_is_published_is_told_whole_beside_many_gaps(world: World, tmp_path: Path) -> None:
    """Replay, export, snapshot, state and doctor know what only the record has."""
    project = register(world, "busy")
    async with await AsyncConnection.connect(world.database, autocommit=True) as conn, idle(world) as long:
        async with world.relay():
            await write_with_gaps(conn, project, 200)
            await until_published(world)
        async with world.relay():  # who begins stores the whole set
            await touch(conn, project)
            await until_published(world)
        await touch(conn, project)
        events, waiting = world.rows("SELECT count(*), max(id) FROM outbox")[0]
        (last,) = world.rows("SELECT max(id) FROM outbox WHERE id < %s", waiting)[0]
        assert not any(last in part for part in world.rows(KNOWN, world.stream)[0][1]), "only the record tells it"

        async with world.history():
            assert len(await world.replayed()) == events - 1
        async with connect(world.database, "test") as reader:
            assert (await record.state(reader, world.stream, last)).is_published
            assert not (await record.state(reader, world.stream, waiting)).is_published
            lines = [line async for line in snapshot_lines(reader, world.stream)]
            assert Position.parse(orjson.loads(lines[0])["position"]).included == ((waiting, waiting + 1),)
            with archive.writing(tmp_path / "history.jsonl") as write:
                assert await archive.export_history(reader, world.settings(), write) == events
        told = [finding.text for finding in await doctor.examine(world.settings())]
        assert any("1 events wait" in text for text in told), told
        await long.commit()
    async with world.relay():
        await world.assert_exactly_once(at_least=events + 1)


async def test_a_cursor_set_back_beside_many_gaps_is_told_by_the_tail(world: World) -> None:
    project = register(world, "busy")
    async with await AsyncConnection.connect(world.database, autocommit=True) as conn, idle(world) as long:
        async with world.relay():
            await write_with_gaps(conn, project, 200)
            await until_published(world)
            await touch(conn, project)
            await until_published(world)
        query = "UPDATE publisher_cursor SET published = '{}', stream_sequence = 0 RETURNING stream"
        assert world.rows(query) == [(world.stream,)]
        async with world.relay():
            await touch(conn, project)
            await until_published(world)
        await long.commit()
    async with world.relay():
        await world.assert_exactly_once(at_least=203)


async def test_a_set_that_is_not_stored_holds_for_the_next_leader_only_as_far_as_its_sequence(database: str) -> None:
    """Records behind the cursor's sequence are not published for it: the tail tells them."""
    with psycopg.connect(database) as conn:
        conn.execute(
            "INSERT INTO publisher_cursor (stream, published, stream_sequence, complete_sequence)"
            " VALUES ('S', '{[1,3)}', 5, 2)"
        )
        conn.execute(
            "INSERT INTO published_batch (stream, last_sequence, ids)"
            " VALUES ('S', 2, '{\"[50,52)\"}'), ('S', 4, '{\"[7,8)\",\"[5,6)\"}'), ('S', 5, '{\"[9,10)\"}'),"
            " ('S', 6, '{\"[60,61)\"}'), ('T', 4, '{\"[70,71)\"}')"
        )
    async with connect(database, "test") as reader:
        known = await try_lead(reader, "S", "test")
    assert known is not None
    assert list(known.published) == [(1, 3), (5, 6), (7, 8), (9, 10)]
