"""What a service looks at again and again: what was found last, and when it looks next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
from prometheus_client import CollectorRegistry
from psycopg.sql import SQL, Identifier

from publisher.doctor import Examination, Findings, examine
from tests.support.proxy import postgres_proxy
from tests.support.world import World, running


@asynccontextmanager
async def examining(world: World) -> AsyncIterator[Findings]:
    """Somebody who looks again and again."""
    findings, after = Findings(CollectorRegistry()), asyncio.Event()
    after.set()
    async with running(Examination(world.settings(), findings, after=after)):
        yield findings


async def until(findings: Findings, is_so: Callable[[list[str]], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not is_so(findings.problems()):
            await asyncio.sleep(0.01)


def is_locked(problems: list[str]) -> bool:
    return any("has locked outbox_fault" in one for one in problems)


async def test_a_lock_that_was_given_back_is_forgotten_at_once(world: World) -> None:
    with psycopg.connect(world.database) as stranger:
        stranger.execute("LOCK TABLE outbox_fault")
        async with world.relay(), examining(world) as findings:
            world.write()
            await until(findings, is_locked)
            stranger.rollback()
            # to have waited for it for two seconds is no reason to rest for fifty
            await until(findings, lambda problems: problems == [], 40)


async def test_what_was_found_before_a_server_was_lost_is_not_told_as_if_it_were_so_now(world: World) -> None:
    with psycopg.connect(world.database) as stranger:
        stranger.execute("LOCK TABLE outbox_fault")
        async with (
            postgres_proxy(world.database) as (proxy, url),
            world.relay(),
            examining(world.at(database=url)) as findings,
        ):
            world.write()
            await until(findings, is_locked)
            assert findings.registry.get_sample_value("imi_examination_lock_waits") == 1
            proxy.refuse()
            await until(findings, lambda problems: any("cannot be compared" in one for one in problems))
            (problem,) = findings.problems()
            assert problem.startswith("database and stream cannot be compared: ")
            assert findings.registry.get_sample_value("imi_examination_lock_waits") is None
            proxy.go_on()
            await until(findings, is_locked)
            assert findings.registry.get_sample_value("imi_examination_lock_waits") == 1


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
