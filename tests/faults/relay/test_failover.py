"""PostgreSQL fails over to a standby: with a synchronous one, what was published is there; with another, it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from registry.database import migrate
from tests.support.servers.replicas import Pair, multi_host, pair
from tests.support.world import World

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'imi-registry%' AND wait_event = 'SyncRep'"


@pytest.fixture
def servers(state_dir: Path) -> Iterator[Pair]:
    """A primary with the schema and one project; it has no standby yet."""
    with pair(state_dir, {}) as found:
        with psycopg.connect(found.url) as conn:
            migrate.apply(conn)
            conn.execute("SELECT register_project('p', 'git@github.com:owner/p.git')")
        yield found


@pytest.fixture
async def there(world: World, servers: Pair) -> AsyncIterator[World]:
    """The world with both servers, for whichever takes writes."""
    return world.at(database=multi_host(servers.urls))


async def describe(database: str, text: str, synchronous_commit: str = "on") -> None:
    """Change the project's description."""
    async with await psycopg.AsyncConnection.connect(database) as conn:
        await conn.execute(f"SET synchronous_commit = {synchronous_commit}")
        await conn.execute("UPDATE projects SET description = %s", [text])


async def told(world: World) -> list[str]:
    """The descriptions that the stream tells."""
    return [message.envelope["data"]["description"] for message in await world.published()]


async def test_what_a_synchronous_standby_lacks_is_not_published(there: World, servers: Pair) -> None:
    # given
    await servers.add_standby()
    async with there.relay() as metrics:
        await there.drained()
        await servers.stop_standby()

        # when: a writer that waits for the local disk alone
        await describe(servers.url, "on the primary alone", synchronous_commit="local")
        async with await psycopg.AsyncConnection.connect(servers.url, autocommit=True) as conn, asyncio.timeout(20):
            while await (await conn.execute(WAITING)).fetchone() == (0,):
                await asyncio.sleep(0.02)

        # then: a failover takes it back, and nobody was told
        await servers.stop(is_crash=True)
        await servers.start_standby()
        await servers.promote()
        await servers.add_standby()
        await describe(there.database, "on both")
        await there.assert_exactly_once(at_least=2)
        assert "on the primary alone" not in await told(there)
        assert metrics.unknown == 0
