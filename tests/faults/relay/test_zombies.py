"""Leaders that do not know that they lead no more, and relays that never asked: the stream's fence holds."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from publisher.outbox.connection import LEADER, connect
from publisher.outbox.cursor import Cursor, Deposed, advance
from publisher.outbox.doorbell import Doorbell
from publisher.outbox.lead import try_lead
from publisher.outbox.ranges import RangeSet
from publisher.relay.drain import Drain
from publisher.relay.heartbeat import Heartbeat
from publisher.relay.metrics import RelayMetrics
from publisher.relay.recovery import Recovery
from publisher.relay.term import Term
from publisher.stream.acknowledgements import StreamMoved
from publisher.stream.opening import open_stream
from registry.concurrency.tasks import end
from tests.support.nats.reading import connected
from tests.support.proxy import Direction, nats_proxy, postgres_proxy
from tests.support.workload import register_with_activities, writing
from tests.support.world import World


def log_activities(database: str, count: int) -> None:
    """One transaction of `count` events."""
    with psycopg.connect(database) as conn:
        register_with_activities(conn, count)


async def query(database: str, text: str) -> Any:
    """The one value of a query."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
        row = await (await conn.execute(text)).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("is_late_batch_large", [False, True], ids=["single", "batch"])
async def test_the_late_batch_of_a_leader_that_was_frozen_and_deposed_is_refused(
    world: World, is_late_batch_large: bool
) -> None:
    answers: list[bytes] = []
    settings = {"heartbeat_seconds": 0.2, "stale_seconds": 1.0}
    async with nats_proxy(world.nats_url) as (proxy, through):

        def remember(direction: Direction, data: bytes) -> bool:
            if direction == "to_client":
                answers.append(data)
            return False

        with world.at(nats_url=through).process(**settings) as zombie:
            await zombie.ready()
            await proxy.quiet()
            proxy.swallow = remember
            proxy.black_hole()  # its batch is on the way now, and does not arrive
            proxy.count_from_now()
            log_activities(world.database, 300 if is_late_batch_large else 0)
            async with asyncio.timeout(10):
                while not proxy.chunks:
                    await asyncio.sleep(0.005)
            await proxy.quiet()  # until all of it was written
            zombie.freeze()
            with world.process(**settings) as standby:
                await standby.until_logged("leading")
                await world.drained()
                before = (await world.audit()).events
                assert not answers
                proxy.go_on()
                proxy.swallow = remember
                async with asyncio.timeout(10):
                    while b'"stream":' not in b"".join(answers):  # the answer to the late request
                        await asyncio.sleep(0.005)
                assert b'"error"' in b"".join(answers) or b'"duplicate":' in b"".join(answers)
                zombie.thaw()
                with psycopg.connect(world.database) as conn:
                    conn.execute("UPDATE worktrees SET agent_id = 'after'")
                await zombie.until_logged("relay interrupted")
                await zombie.until_logged("standing by")
                found = await world.assert_exactly_once()
                assert found.events == before + 1


@pytest.mark.parametrize("freezes", [2, pytest.param(25, marks=pytest.mark.long)])
async def test_leaders_frozen_at_random_and_woken_after_they_were_deposed_change_nothing(
    world: World, freezes: int
) -> None:
    settings = {"heartbeat_seconds": 0.2, "stale_seconds": 0.8}

    with (
        world.process(**settings) as one,
        world.process(**settings) as other,
    ):
        async with writing(world.database, writers=4) as load:
            await one.ready()
            await other.ready()
            for _ in range(freezes):
                await load.reach(commits=15)
                holder = await query(world.database, "SELECT leader FROM publisher_cursor")
                leader, standby = (one, other) if holder.endswith(f" {one.pid}") else (other, one)
                led = len(standby.logged("leading"))
                leader.freeze()
                async with asyncio.timeout(20):
                    while len(standby.logged("leading")) == led:
                        await asyncio.sleep(0.01)
                await load.reach(commits=15)
                leader.thaw()
        await world.assert_exactly_once(at_least=30 * freezes, timeout_seconds=60)


async def test_a_leader_whose_epoch_is_over_stops_by_itself_although_its_connection_stands(world: World) -> None:
    async with world.relay() as metrics:
        log_activities(world.database, 5)
        await world.drained()
        raised = await query(world.database, "UPDATE publisher_cursor SET epoch = epoch + 100 RETURNING epoch")

        with psycopg.connect(world.database) as conn:
            conn.execute("UPDATE worktrees SET agent_id = 'after'")
        await world.assert_exactly_once(at_least=8)

        assert metrics.interrupted == 1
        assert await query(world.database, "SELECT epoch FROM publisher_cursor") == raised + 1


async def test_a_leader_cut_off_from_postgresql_without_notice_is_deposed_and_does_no_harm(world: World) -> None:
    settings = {"heartbeat_seconds": 0.2, "stale_seconds": 0.8}

    async with (
        postgres_proxy(world.database) as (proxy, through),
        world.at(database=through).relay(**settings) as cut_off,
    ):
        proxy.black_hole()
        async with world.relay(**settings) as standby:
            async with asyncio.timeout(10):
                while standby.role != "leader":
                    await asyncio.sleep(0.01)
            log_activities(world.database, 5)
            await world.drained()
            proxy.go_on()
            async with asyncio.timeout(10):
                while cut_off.role != "standby":
                    await asyncio.sleep(0.01)
            await world.assert_exactly_once()


class Contender:
    """Publishes without ever asking who leads: a cursor of its own, on the same stream."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._settings = world.settings(heartbeat_seconds=0.1)
        self._profile = world.profile
        self.refused = 0

    async def run(self) -> None:
        metrics = RelayMetrics()
        async with (
            connect(self._world.database, "contender", LEADER) as conn,
            open_stream(self._world.nats_url, "contender", self._profile, self._settings) as stream,
        ):
            found = await conn.execute("SELECT epoch, pg_current_xact_id()::text::bigint FROM publisher_cursor")
            epoch, transaction_id = await found.fetchone() or (0, 0)
            cursor = Cursor(self._profile.event_stream, RangeSet(), 0, epoch, transaction_id)
            heartbeat = Heartbeat(conn, cursor, self._settings.heartbeat_seconds)
            term = Term(self._settings, self._profile, metrics, conn, stream, cursor, heartbeat)
            single = 0
            while True:
                found_in_tail = await Recovery(term).run()
                drain = Drain(term, Doorbell(self._world.database))
                try:
                    await drain.run(single=0 if found_in_tail else single)
                except StreamMoved:
                    self.refused += 1
                    single = drain.unacknowledged


async def test_two_relays_that_both_publish_are_kept_apart_by_the_stream_alone(world: World) -> None:
    names = world.names

    async with connect(world.database, "test", LEADER) as conn:
        cursor = await try_lead(conn, names.event_stream, "test")
        assert cursor is not None
    one, other = Contender(world), Contender(world)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one.run())]
        async with connected(world.nats_url) as client, asyncio.timeout(10):
            while names.event_stream not in [info.config.name for info in await client.jetstream().streams_info()]:
                await asyncio.sleep(0.01)  # the second one shall not race for creating it
        running.append(tasks.create_task(other.run()))
        async with writing(world.database, writers=6, pause_seconds=0.005) as load, asyncio.timeout(120):
            await load.reach(commits=150)
            while not (one.refused and other.refused):
                await asyncio.sleep(0.05)
        await end(running)

    async with world.relay():
        await world.assert_exactly_once(at_least=150)


async def test_a_cursor_of_an_older_epoch_cannot_be_stored(world: World) -> None:
    stream = world.names.event_stream

    async with connect(world.database, "older", LEADER) as conn:
        older = await try_lead(conn, stream, "older")
    assert older is not None

    async with connect(world.database, "newer", LEADER) as conn:
        newer = await try_lead(conn, stream, "newer")
        assert newer is not None
        await advance(conn, newer)
        with pytest.raises(Deposed):
            await advance(conn, older)


async def test_a_leader_waiting_for_nats_keeps_its_lead_while_no_standby_could_do_better(world: World) -> None:
    settings = {"heartbeat_seconds": 0.1, "stale_seconds": 0.6}
    waited = "SELECT coalesce(heartbeat_at > %s::timestamptz + interval '4 s' AND hindrance IS NOT NULL, false)"

    async with nats_proxy(world.nats_url) as (proxy, through):
        there = world.at(nats_url=through)
        async with there.relay(**settings) as leader, there.relay(**settings) as standby:
            log_activities(world.database, 5)
            await world.drained()
            epoch = await query(world.database, "SELECT epoch FROM publisher_cursor")
            proxy.black_hole()
            began = await query(world.database, "SELECT clock_timestamp()::text")
            with psycopg.connect(world.database) as conn:
                conn.execute("UPDATE worktrees SET agent_id = 'meanwhile'")
            async with asyncio.timeout(20):
                while not await query(world.database, f"{waited.replace('%s', repr(began))} FROM publisher_cursor"):
                    await asyncio.sleep(0.05)
            assert (leader.role, standby.role) == ("leader", "standby")
            assert await query(world.database, "SELECT epoch FROM publisher_cursor") == epoch
            proxy.go_on()
            await world.assert_exactly_once(at_least=8)
