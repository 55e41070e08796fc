"""Whoever rings is heard, whatever becomes of the connection that listens."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from publisher.outbox import doorbell
from publisher.outbox.doorbell import CHANNEL, NAME, Doorbell
from tests.support.commands import rows
from tests.support.proxy import postgres_proxy

FOREVER_SECONDS = 60.0


def ring(database: str, count: int = 1, payload: str = "") -> None:
    """So many rings at once, which differ, or PostgreSQL would tell one."""
    with psycopg.connect(database, autocommit=True) as conn:
        rings = "SELECT pg_notify(%s, n || %s) FROM generate_series(1, %s) AS n"
        conn.execute(rings, [CHANNEL, payload, count])


def session(database: str) -> tuple[Any, ...]:
    """Process id of the session that listens, and when it was asked something last; nothing when there is none."""
    found = "SELECT pid, query_start FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
    return next(iter(rows(database, found, NAME)), ())


async def test_a_ring_is_heard_and_so_may_be_one_before_it_listened(database: str) -> None:
    there = Doorbell(database)
    assert not await there.rung(0.01)

    async with there.listening():
        assert await there.rung(FOREVER_SECONDS)
        assert not await there.rung(0.01)
        ring(database)
        assert await there.rung(FOREVER_SECONDS)


async def test_it_is_rung_when_the_connection_is_lost_and_another_one_listens(database: str) -> None:
    there = Doorbell(database)
    async with there.listening():
        assert await there.rung(FOREVER_SECONDS)
        rows(database, "SELECT pg_terminate_backend(%s)", session(database)[0])
        assert await there.rung(FOREVER_SECONDS), "whoever rests looks"
        assert await there.rung(FOREVER_SECONDS), "and once more when somebody listens"


async def test_a_connection_that_stands_and_carries_nothing_is_replaced(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "HEARD_SECONDS", 0.2)
    async with postgres_proxy(database) as (proxy, through):
        there = Doorbell(through)
        async with there.listening():
            assert await there.rung(FOREVER_SECONDS)

            with capture_logs() as told:
                proxy.silence()
                assert await there.rung(FOREVER_SECONDS), "another one listens"

            assert {line["reason"] for line in told} == {"PostgreSQL does not answer on a connection that stands"}
            ring(database)
            assert await there.rung(FOREVER_SECONDS)


async def test_a_server_that_takes_no_connection_is_tried_again(database: str) -> None:
    async with postgres_proxy(database) as (proxy, through):
        proxy.refuse()
        there = Doorbell(through)
        async with there.listening():
            assert not await there.rung(0.3)

            proxy.go_on()

            assert await there.rung(FOREVER_SECONDS)


async def test_more_rings_at_once_than_makes_sense_are_not_listened_to(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "MOST_BYTES", 100_000)
    there = Doorbell(database)
    async with there.listening():
        assert await there.rung(FOREVER_SECONDS)
        before = session(database)

        ring(database, count=100, payload="x" * 7000)

        async with asyncio.timeout(FOREVER_SECONDS):
            while session(database)[:1] in {before[:1], ()}:
                await asyncio.sleep(0.01)
        ring(database)
        assert await there.rung(FOREVER_SECONDS)


async def test_as_many_rings_one_after_the_other_are_listened_to(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "HEARD_SECONDS", 1.0)
    monkeypatch.setattr(doorbell, "MOST_BYTES", 150_000)
    there = Doorbell(database)
    async with there.listening():
        assert await there.rung(FOREVER_SECONDS)
        before = session(database)
        for _ in range(4):
            asked = session(database)
            ring(database, count=10, payload="x" * 7000)
            async with asyncio.timeout(FOREVER_SECONDS):
                while session(database) == asked:  # it is asked whether it is still there
                    await asyncio.sleep(0.01)
        assert session(database)[:1] == before[:1]
