"""A connection that carries nothing more is given up; one on which PostgreSQL works, or nobody asks, is not."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from registry.concurrency.patience import wordless
from registry.database.connecting import look
from registry.database.connection import acquired, connect, connect_blocking, direct_or_pooled, pool
from registry.errors import Unavailable
from tests.support.pgbouncer import BINARY, pgbouncer
from tests.support.proxy import Direction, postgres_proxy

NAME = "silence"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
PATIENCE_SECONDS = 60


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(look, "ARRIVING_SECONDS", 0.2)


def sessions(database: str) -> int:
    with psycopg.connect(database) as conn:
        return (conn.execute(SESSIONS, [NAME]).fetchone() or (0,))[0]


@pytest.mark.parametrize("direction", [None, "to_server", "to_client"])
async def test_one_that_stands_and_carries_nothing_is_lost_and_its_session_ended(
    database: str, direction: Direction | None
) -> None:
    async with postgres_proxy(database) as (proxy, through), connect(through, NAME) as conn:
        proxy.silence(direction)

        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(psycopg.OperationalError, match="does not answer on a connection that stands"):
                await conn.execute("SELECT 1")
            assert conn.closed
            while await asyncio.to_thread(sessions, database):  # behind the proxy, which stands
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("direction", [None, "to_server", "to_client"])
async def test_one_without_an_event_loop_is_lost_as_well(database: str, direction: Direction | None) -> None:
    async with postgres_proxy(database) as (proxy, through):

        def ask() -> None:
            with connect_blocking(through) as conn:
                conn.execute("SELECT set_config('application_name', %s, false)", [NAME])
                loop.call_soon_threadsafe(proxy.silence, direction)
                conn.execute("SELECT pg_sleep(0.2)")
                conn.execute("SELECT 1")

        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(Unavailable, match="does not answer on a connection that stands"):
                await asyncio.to_thread(ask)
            while await asyncio.to_thread(sessions, database):
                await asyncio.sleep(0.01)


async def test_one_of_which_no_other_is_answered_either_is_lost(database: str) -> None:
    async with postgres_proxy(database) as (proxy, through), connect(through, NAME) as conn:
        proxy.black_hole()
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(psycopg.OperationalError, match="does not answer"):
                await conn.execute("SELECT 1")


async def test_a_statement_may_take_its_time_and_wait_for_a_lock(database: str) -> None:
    async with connect(database, NAME) as conn, connect(database, "holder") as holder:
        await conn.execute("SELECT pg_sleep(2)")
        await holder.execute("SELECT pg_advisory_lock(1)")
        waiting = asyncio.create_task(conn.execute("SELECT pg_advisory_lock(1)"))
        assert await asyncio.wait([waiting], timeout=2) == (set(), {waiting})
        await holder.execute("SELECT pg_advisory_unlock(1)")
        await waiting


def test_a_statement_without_an_event_loop_may_take_its_time(database: str) -> None:
    with connect_blocking(database) as conn:
        conn.execute("SELECT pg_sleep(2)")


async def test_a_statement_may_work_no_longer_than_it_was_given_but_wait_for_a_lock(database: str) -> None:
    async with connect(database, NAME) as conn, connect(database, "holder") as holder:
        await holder.execute("SELECT pg_advisory_lock(1)")
        with wordless(0.5):
            waiting = asyncio.create_task(conn.execute("SELECT pg_advisory_lock(1)"))
            assert await asyncio.wait([waiting], timeout=2) == (set(), {waiting})
            await holder.execute("SELECT pg_advisory_unlock(1)")
            await waiting
            async with asyncio.timeout(PATIENCE_SECONDS):
                with pytest.raises(psycopg.OperationalError, match=r"worked on a statement for 0\.5 s without"):
                    await conn.execute("SELECT pg_sleep(600)")
                while await asyncio.to_thread(sessions, database):
                    await asyncio.sleep(0.01)


async def test_who_waits_for_a_notification_waits(database: str) -> None:
    async with connect(database, NAME) as conn:
        await conn.execute("LISTEN something")
        assert [notice async for notice in conn.notifies(timeout=2)] == []
        await conn.execute("SELECT 1")


@pytest.mark.skipif(BINARY is None, reason="PgBouncer is not installed")
async def test_behind_a_pooler_a_statement_may_take_its_time(database: str) -> None:
    with pgbouncer(database) as url:
        async with pool(url, direct_or_pooled, min_size=1, max_size=1, timeout=5) as found, acquired(found) as conn:
            await conn.execute("SELECT pg_sleep(2)")
