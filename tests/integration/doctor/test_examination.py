"""What a service looks at again and again: what was found last, and when it looks next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
from prometheus_client import CollectorRegistry

from publisher.doctor import Examination, Findings
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
