"""PostgreSQL and nats-server, durable as in production, restart and crash while writers go on."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import psycopg
import pytest

from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from registry.database import migrate
from tests.support.servers.restartable import Restartable
from tests.support.workload import Workload, writing
from tests.support.world import World


async def failing_more(load: Workload) -> None:
    """Wait until a writer has found its server gone."""
    failures = load.failures
    async with asyncio.timeout(20):
        while load.failures == failures:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_crash", [False, True], ids=["restart", "SIGKILL"])
@pytest.mark.parametrize("restarts", [2, pytest.param(20, marks=pytest.mark.long)])
async def test_a_nats_server_that_comes_back_gets_what_was_written_meanwhile(
    world: World, state_dir: Path, restarts: int, is_crash: bool
) -> None:
    with Restartable(partial(nats_server, state_dir)) as server:
        there = world.at(nats_url=server.url)

        async with there.relay() as metrics:
            async with writing(world.database, writers=4) as load:
                for _ in range(restarts):
                    await load.reach(commits=20)
                    await server.stop(is_crash=is_crash)
                    await load.reach(commits=20)
                    await server.start()
            await there.assert_exactly_once(at_least=40 * restarts, timeout_seconds=60)
            assert metrics.interrupted >= restarts


@pytest.mark.parametrize("is_crash", [False, True], ids=["restart", "SIGKILL"])
@pytest.mark.parametrize("restarts", [2, pytest.param(20, marks=pytest.mark.long)])
async def test_a_postgresql_that_comes_back_has_nothing_published_twice_and_nothing_forgotten(
    world: World, state_dir: Path, restarts: int, is_crash: bool
) -> None:
    with Restartable(partial(postgres, state_dir)) as server:
        there = world.at(database=server.url)

        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)

        async with there.relay() as metrics:
            async with writing(server.url, writers=4) as load:
                for _ in range(restarts):
                    await load.reach(commits=40)
                    await server.stop(is_crash=is_crash)
                    await failing_more(load)
                    await server.start()
            await there.assert_exactly_once(at_least=40 * restarts, timeout_seconds=60)
            assert metrics.interrupted >= restarts
