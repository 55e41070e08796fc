"""PostgreSQL's clock is set forward and back under a leader."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest

from publisher.embedded.postgres import postgres
from registry.database import migrate
from tests.support.proxy import postgres_proxy
from tests.support.servers.clock import Clock, needs_faketime
from tests.support.servers.restartable import Restartable
from tests.support.world import World

SETTINGS = {"heartbeat_seconds": 0.2, "stale_seconds": 5}
"""The clock has jumped before a heartbeat is stale."""

pytestmark = needs_faketime


async def jumped(database: str, clock: Clock, seconds: int) -> None:
    """Let the clock jump, and wait until PostgreSQL sees it."""
    clock.jump(seconds)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn, asyncio.timeout(20):
        while True:
            found = await (await conn.execute("SELECT clock_timestamp()")).fetchone()
            assert found is not None
            if abs(found[0] - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=5):
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("seconds", [3600, -3600], ids=["forward", "back"])
async def test_a_leader_that_is_lost_as_the_clock_jumps_is_followed(
    world: World, state_dir: Path, seconds: int
) -> None:
    clock = Clock(state_dir)
    with Restartable(partial(postgres, state_dir, bin_dir=clock.binaries)) as server:
        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)
            conn.execute("SELECT register_project('p', 'git@github.com:owner/p.git')")
        there = world.at(database=server.url)
        async with (
            postgres_proxy(server.url) as (proxy, through),
            there.at(database=through).relay(**SETTINGS),
            there.relay(**SETTINGS) as standby,
        ):
            await there.drained()

            proxy.black_hole()
            await jumped(server.url, clock, seconds)

            async with asyncio.timeout(30):
                while standby.role != "leader":
                    await asyncio.sleep(0.02)
            with psycopg.connect(server.url) as conn:
                conn.execute("UPDATE projects SET description = 'after'")
            await there.assert_exactly_once(at_least=2)
            proxy.go_on()
