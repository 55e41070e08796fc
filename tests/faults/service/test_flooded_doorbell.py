"""Whoever may connect may ring for the publisher, without end and with 7 KB each time: events go on all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from publisher.embedded.postgres import postgres
from registry.database import migrate
from tests.support.audit import is_published
from tests.support.databases import name_of, plain_role
from tests.support.postgres.rings import ringing
from tests.support.processes import peak_mib
from tests.support.relay_process import RelayProcess
from tests.support.roles.cluster import as_login, connect, login
from tests.support.world import World

MOST_MIB = 200
"""Of a few thousand rings alone, had they been kept, there would be more."""
MOST_LINES = 20


@pytest.fixture
def there(world: World, state_dir: Path) -> Iterator[World]:
    """On a server of its own: the queue of notifications is that of the whole server, and so are roles."""
    with postgres(state_dir) as server:
        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)
        yield world.at(database=server.url)


@pytest.fixture
def stranger(there: World) -> Iterator[str]:
    """The database as somebody who may log in and nothing else."""
    with plain_role(there.database) as role:
        yield as_login(there.database, role)


@pytest.fixture
def reader(there: World) -> Iterator[str]:
    """A database that is closed to all but whom it was opened for, as a reader of it."""
    with login(there.database, "imi_reader") as member, connect(there.database) as conn:
        database = name_of(there.database)
        conn.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC".encode())
        conn.execute(f"GRANT CONNECT ON DATABASE {database} TO {member.name}".encode())
        yield as_login(there.database, member)
        conn.execute(f"REVOKE CONNECT ON DATABASE {database} FROM {member.name}".encode())


@pytest.mark.parametrize(("who", "sessions"), [("stranger", 1), ("stranger", 3), ("reader", 3)])
async def test_who_rings_without_end_keeps_no_event_back_and_takes_no_memory(
    there: World, request: pytest.FixtureRequest, who: str, sessions: int
) -> None:
    url = request.getfixturevalue(who)
    with there.process() as process:
        # given
        await process.ready()
        there.write()
        await there.drained()
        before = peak_mib(process.pid)
        # when
        with ringing(url, sessions) as pids:
            for number in range(10):
                there.rows("SELECT register_project('p', %s)", f"git@github.com:o/flood{number}.git")
                await until_published(there, process, before + MOST_MIB)
        # then
        await there.assert_exactly_once(at_least=10)
        told = [line for line in process.logged("doorbell interrupted") if "REVOKE CONNECT" in line["reason"]]
        assert 0 < len(told) < MOST_LINES
        assert any(f"pg_terminate_backend({pid})" in told[0]["reason"] for pid in pids)


async def until_published(there: World, process: RelayProcess, most_mib: float) -> None:
    async with (
        asyncio.timeout(120),
        await psycopg.AsyncConnection.connect(there.database, autocommit=True) as conn,
    ):
        while not await is_published(conn, there.stream):
            assert peak_mib(process.pid) < most_mib
            await asyncio.sleep(0.01)
    assert peak_mib(process.pid) < most_mib


async def test_who_rings_after_a_flood_is_heard_again(there: World, stranger: str) -> None:
    async with there.relay(heartbeat_seconds=3600):
        there.write()
        await there.drained()
        with ringing(stranger, 1):
            there.write()
        there.write()
        await there.assert_exactly_once(at_least=20)
