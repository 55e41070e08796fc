"""Connections that break at the worst moment."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from publisher.outbox.connection import LEADER, connect
from publisher.relay.metrics import RelayMetrics
from publisher.relay.relay import Relay
from tests.support.proxy import Direction, nats_proxy, postgres_proxy
from tests.support.workload import register_with_activities, writing
from tests.support.world import World


def log_activities(conn: psycopg.Connection, count: int) -> None:
    """One transaction of `count` events."""
    with conn.transaction():
        register_with_activities(conn, count - 2)


def sample(metrics: RelayMetrics, name: str) -> float:
    """The value of one of the relay's metrics."""
    return metrics.registry.get_sample_value(f"imi_relay_{name}") or 0.0


def is_acknowledgement(direction: Direction, data: bytes) -> bool:
    """Whether the chunk tells that events were stored."""
    return direction == "to_client" and b'"seq":' in data and b'"error"' not in data


@pytest.mark.parametrize(("events", "is_cut"), [(3, True), (900, True), (900, False)], ids=["3", "900", "900 silent"])
async def test_events_whose_acknowledgement_is_lost_are_recognised_in_the_stream(
    world: World, events: int, is_cut: bool
) -> None:
    swallowed = 0
    async with nats_proxy(world.nats_url) as (proxy, url):

        def swallow(direction: Direction, data: bytes) -> bool:
            nonlocal swallowed
            if swallowed or not is_acknowledgement(direction, data):
                return False
            swallowed += 1
            if is_cut:
                asyncio.get_running_loop().call_soon(proxy.cut)
            return True

        async with world.at(nats_url=url).relay() as metrics:
            proxy.swallow = swallow
            with psycopg.connect(world.database, autocommit=True) as conn:
                log_activities(conn, events)
            await world.assert_exactly_once(at_least=events)
            assert swallowed == 1
            assert sample(metrics, "recovered_events_total") == events
            assert sample(metrics, "events_total") == 0


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_batch_that_is_cut_in_the_middle_is_published_whole_later(world: World, when: str) -> None:
    async with nats_proxy(world.nats_url) as (proxy, url), world.at(nats_url=url).relay() as metrics:
        await proxy.quiet()

        def cut() -> None:
            asyncio.get_running_loop().call_soon(proxy.go_on)
            proxy.cut()

        proxy.stop_at(3, when, cut)  # type: ignore[arg-type]  # of about twelve chunks
        with psycopg.connect(world.database, autocommit=True) as conn:
            log_activities(conn, 900)
        await world.assert_exactly_once(at_least=900)
        assert metrics.interrupted == 1
        assert sample(metrics, "recovered_events_total") == 0  # nothing of it was stored at first


async def test_events_acknowledged_before_the_cursor_could_be_stored_are_not_sent_again(world: World) -> None:
    async with (
        nats_proxy(world.nats_url) as (proxy, url),
        postgres_proxy(world.database) as (postgresql, database_through),
        world.at(database=database_through, nats_url=url).relay() as metrics,
    ):
        cuts = 0

        def cut_on_acknowledgement(direction: Direction, data: bytes) -> bool:
            nonlocal cuts
            if not cuts and is_acknowledgement(direction, data):
                cuts += 1
                postgresql.cut()
            return False

        proxy.swallow = cut_on_acknowledgement
        with psycopg.connect(world.database, autocommit=True) as conn:
            log_activities(conn, 50)
        await world.assert_exactly_once(at_least=50)
        assert cuts == 1
        assert sample(metrics, "recovered_events_total") == 50


async def test_a_leader_whose_backend_is_terminated_again_and_again_loses_nothing(world: World) -> None:
    terminate = (
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_locks"
        " WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    terminated = 0

    async with (
        world.relay() as first,
        world.relay() as second,
        writing(world.database, writers=4) as load,
        await psycopg.AsyncConnection.connect(world.database, autocommit=True) as admin,
    ):
        for _ in range(8):
            await load.reach(commits=10)
            row = await (await admin.execute(terminate)).fetchone()
            assert row is not None
            terminated += row[0]
            async with asyncio.timeout(20):
                # A relay keeps the role of a leader until it notices.
                while first.interrupted + second.interrupted < terminated or "leader" not in (first.role, second.role):
                    await asyncio.sleep(0.01)
        load.stop()
        await world.assert_exactly_once(at_least=80)

    assert terminated == 8


async def test_a_relay_that_ends_is_not_kept_by_a_connection_that_carries_nothing(world: World) -> None:
    async with (
        postgres_proxy(world.database) as (proxy, through),
        connect(through, "test", LEADER) as conn,
    ):
        proxy.black_hole()
        async with asyncio.timeout(8):  # psycopg gives up what is cancelled once after ten seconds
            await Relay(world.settings(), RelayMetrics())._silence(conn)


@pytest.mark.parametrize("direction", [pytest.param(None, marks=pytest.mark.long), "to_server", "to_client"])
async def test_a_commit_while_the_connection_that_listens_is_half_open_is_published(
    world: World, direction: Direction | None
) -> None:
    async with postgres_proxy(world.database) as (proxy, through), world.at(database=through).relay() as metrics:
        # given
        world.write(projects=1, worktrees=0, renames=1)
        await world.drained()
        # when it stands and carries nothing, and nobody stands by
        proxy.silence(direction)
        world.write(projects=1, worktrees=0, renames=1)
        # then
        await world.assert_exactly_once(at_least=4)
        assert metrics.interrupted == 1
