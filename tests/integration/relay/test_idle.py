"""A relay that has nothing to do, stands by, or stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.outbox_reader import add_project
from tests.support.world import World


def is_armed(writer: psycopg.Connection[Any]) -> bool:
    return writer.execute("SELECT last_value = 1 FROM publisher_doorbell").fetchone() == (True,)


async def test_a_standby_takes_over_when_the_leader_stops(world: World, writer: psycopg.Connection[Any]) -> None:
    async with world.relay() as first:
        assert first.role == "leader"
        add_project(writer)
        await world.drained()
        first_task = world.relay()
        second = await first_task.__aenter__()
        assert second.role == "standby"
    add_project(writer, "beta")
    await world.drained()
    assert second.role == "leader"
    await first_task.__aexit__(None, None, None)

    assert [message.envelope["data"]["name"] for message in await world.published()] == ["alpha", "beta"]


@pytest.mark.parametrize("projects", [0, 1])
async def test_an_idle_relay_does_not_touch_the_database_between_heartbeats(
    world: World, writer: psycopg.Connection[Any], projects: int
) -> None:
    state = """
        SELECT pid, state, query, query_start
        FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'imi-registry%'
        ORDER BY application_name <> 'imi-registry doorbell'
    """
    # Once the doorbell is set, and once it is listened to, there is a look: the last one.
    asleep = """
        SELECT bool_and(state = 'idle' AND clock_timestamp() - state_change > interval '0.3 s')
            AND max(query_start) FILTER (WHERE query LIKE '%progress%')
                > max(state_change) FILTER (WHERE application_name = 'imi-registry doorbell')
        FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'imi-registry%'
    """

    async with world.relay(heartbeat_seconds=86_400) as metrics:
        for _ in range(projects):
            add_project(writer)
            await world.drained()
        assert metrics.published == projects
        async with asyncio.timeout(10):
            while not is_armed(writer) or writer.execute(asleep).fetchone() != (True,):
                await asyncio.sleep(0.02)
            before = writer.execute(state).fetchall()
        await asyncio.sleep(1.0)  # the time in which nothing may happen is what is tested
        assert writer.execute(state).fetchall() == before


LAST_STATEMENT = """
    SELECT query
    FROM pg_stat_activity
    WHERE datname = current_database()
        AND application_name LIKE 'imi-registry%'
        AND application_name <> 'imi-registry doorbell'
"""


LISTENS = """
    SELECT true
    FROM pg_stat_activity
    WHERE datname = current_database()
        AND application_name = 'imi-registry doorbell'
        AND state = 'idle'
        AND query LIKE '%LISTEN%'
"""


async def at_rest(writer: psycopg.Connection[Any]) -> None:
    """Wait until a relay listens, and the last thing that it did was a heartbeat at rest."""
    async with asyncio.timeout(10):
        while writer.execute(LISTENS).fetchone() is None:
            await asyncio.sleep(0.005)
        await heartbeats(writer, 2)  # it looks once it listens
        while "beaten" not in str(writer.execute(LAST_STATEMENT).fetchone()):
            await asyncio.sleep(0.005)


async def heartbeats(writer: psycopg.Connection[Any], number: int, seen: Callable[[], object] = lambda: None) -> None:
    """Wait until so many more are stored; looks are taken with `seen` meanwhile."""
    beaten: set[Any] = set()
    async with asyncio.timeout(30):
        while len(beaten) <= number:
            beaten.add(writer.execute("SELECT heartbeat_at FROM publisher_cursor").fetchone())
            seen()
            await asyncio.sleep(0.001)


async def test_a_relay_at_rest_does_nothing_but_one_statement_at_each_heartbeat(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    async with world.relay(heartbeat_seconds=0.05):
        add_project(writer)
        await world.drained()
        await at_rest(writer)
        statements: set[Any] = set()

        await heartbeats(writer, 10, lambda: statements.update(writer.execute(LAST_STATEMENT).fetchall()))

    assert len(statements) == 1


UNHEARD = {
    "an event whose writer does not ring": """
        BEGIN;
        SET LOCAL imi.doorbell = 'off';
        SELECT register_project('p', 'git@github.com:owner/p.git');
        COMMIT
    """,
    "an event behind a silenced doorbell": """
        SELECT setval('publisher_doorbell', 0);
        SELECT register_project('p', 'git@github.com:owner/p.git')
    """,
    "a row that was copied in with an id of its own": """
        BEGIN;
        SET LOCAL imi.doorbell = 'off';
        INSERT INTO outbox (id, event_id, entity, action, entity_id, project_id, data) OVERRIDING SYSTEM VALUE
        SELECT 1000, gen_random_uuid(), entity, action, entity_id, project_id, data FROM outbox LIMIT 1;
        COMMIT
    """,
}


@pytest.mark.parametrize("statements", UNHEARD.values(), ids=UNHEARD)
async def test_what_no_doorbell_tells_a_relay_at_rest_is_found_by_a_heartbeat(
    world: World, writer: psycopg.Connection[Any], statements: str
) -> None:
    async with world.relay(heartbeat_seconds=0.2):
        add_project(writer)
        await world.drained()
        await at_rest(writer)

        writer.execute(statements)

        async with asyncio.timeout(20):
            while len(await world.published()) < 2:
                await asyncio.sleep(0.01)


async def test_the_heartbeat_goes_on_when_the_row_of_a_cursor_at_rest_is_moved(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    async with world.relay(heartbeat_seconds=0.05) as metrics:
        await at_rest(writer)

        for _ in range(3):  # as retention does
            writer.execute("UPDATE publisher_cursor SET forgotten_sequence = forgotten_sequence")
            await heartbeats(writer, 3)

        assert (metrics.role, metrics.interrupted) == ("leader", 0)


async def test_a_relay_at_rest_that_another_one_followed_leads_no_more(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    async with world.relay(heartbeat_seconds=0.05) as metrics:
        await at_rest(writer)

        writer.execute("UPDATE publisher_cursor SET epoch = epoch + 1")

        async with asyncio.timeout(10):
            while not metrics.interrupted:
                await asyncio.sleep(0.01)


async def test_a_relay_that_stops_leaves_no_doorbell_for_writers_to_ring(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    async with world.relay():
        add_project(writer)
        await world.drained()
        async with asyncio.timeout(10):
            while not is_armed(writer):
                await asyncio.sleep(0.01)
    assert not is_armed(writer)
