"""A relay that has nothing to do, stands by, or stops."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.outbox_reader import add_project
from tests.support.world import World


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
        SELECT state, query LIKE '%progress%' AND last_value = 1 AS is_last_look, query_start
        FROM pg_stat_activity, publisher_doorbell
        WHERE datname = current_database() AND application_name LIKE 'imi-registry%'
    """

    async with world.relay(heartbeat_seconds=30) as metrics:
        for _ in range(projects):
            add_project(writer)
            await world.drained()
        assert metrics.published == projects
        async with asyncio.timeout(10):
            while not (before := writer.execute(state).fetchall()) or before[0][:2] != ("idle", True):
                await asyncio.sleep(0.005)
        await asyncio.sleep(1.0)  # the time in which nothing may happen is what is tested
        assert writer.execute(state).fetchall() == before


async def test_a_relay_that_stops_leaves_no_doorbell_for_writers_to_ring(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    def is_armed() -> bool:
        return writer.execute("SELECT last_value = 1 FROM publisher_doorbell").fetchone() == (True,)

    async with world.relay():
        add_project(writer)
        await world.drained()
        async with asyncio.timeout(10):
            while not is_armed():
                await asyncio.sleep(0.01)
    assert not is_armed()
