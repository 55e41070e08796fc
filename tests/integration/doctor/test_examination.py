"""What a service looks at again and again: what was found last, and when it looks next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
from prometheus_client import CollectorRegistry
from psycopg.sql import SQL, Identifier

from publisher.doctor import Examination, Findings, examine
from tests.support.world import World, running


async def test_a_lock_that_was_given_back_is_forgotten_at_once(world: World) -> None:
    findings, after = Findings(CollectorRegistry()), asyncio.Event()
    after.set()

    async def until(is_so: Callable[[list[str]], bool], seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not is_so(findings.problems()):
                await asyncio.sleep(0.01)

    with psycopg.connect(world.database) as stranger:
        stranger.execute("LOCK TABLE outbox_fault")
        async with world.relay(), running(Examination(world.settings(), findings, after=after)):
            world.write()
            await until(lambda problems: any("has locked outbox_fault" in one for one in problems), 60)
            stranger.rollback()
            # to have waited for it for two seconds is no reason to rest for fifty
            await until(lambda problems: problems == [], 40)


async def test_a_database_that_takes_no_writes_is_why_nobody_publishes(world: World) -> None:
    settings = world.settings()
    async with world.relay():
        world.write()
        await world.drained()

    async def until_told(ending: str) -> None:
        async with asyncio.timeout(60):
            while not any(
                found.text.startswith("no publisher") and found.text.endswith(ending)
                for found in await examine(settings)
            ):
                await asyncio.sleep(0.1)

    await until_told("; start up or serve")
    with psycopg.connect(world.database, autocommit=True) as conn:
        ours = Identifier(conn.info.dbname)
        conn.execute(SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(ours))
    await until_told("; the database takes no writes now: it is a standby, or default_transaction_read_only is on")
