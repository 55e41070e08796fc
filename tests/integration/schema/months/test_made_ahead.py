"""Who publishes events makes months ahead."""

from __future__ import annotations

import asyncio

import psycopg
from prometheus_client import CollectorRegistry

from publisher.health import Health
from publisher.outbox.connection import LEADER, connect
from publisher.outbox.months import Months, make_ahead
from registry.database import months
from tests.support.schema.months import DROP, LAST, fill
from tests.support.world import World


async def test_the_service_makes_what_is_not_there(world: World) -> None:
    fill(world.database, activities=10)
    with psycopg.connect(world.database, autocommit=True) as conn:
        months.move(conn, by_month=True)
        last = conn.execute(LAST).fetchone()
        conn.execute(DROP)
        assert conn.execute(LAST).fetchone() != last

        task = asyncio.create_task(Months(world.settings(), Health("months", CollectorRegistry())).run())
        async with asyncio.timeout(30):
            while conn.execute(LAST).fetchone() != last:
                await asyncio.sleep(0.05)
        task.cancel()


async def test_who_keeps_them_waiting_is_not_waited_for_and_a_registry_in_one_table_has_none(world: World) -> None:
    fill(world.database, activities=10)
    async with connect(world.database, "months", LEADER) as conn:
        assert await make_ahead(conn) == 0
        with psycopg.connect(world.database, autocommit=True) as owner:
            months.move(owner, by_month=True)
            owner.execute(DROP)
        with psycopg.connect(world.database) as reader:
            reader.execute("SELECT FROM agent_activities LIMIT 0")
            assert await make_ahead(conn) == 0
        assert await make_ahead(conn) == 1
