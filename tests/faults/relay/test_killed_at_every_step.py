"""SIGKILL at each step of a publishing cycle.

A process acts on the world by its input and output alone, so killing it before and after each chunk it exchanges with
PostgreSQL and with NATS is killing it at every point that can matter.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple
from uuid import UUID

import psycopg
import pytest

from tests.support.audit import is_published
from tests.support.proxy import Proxy, nats_proxy, postgres_proxy
from tests.support.relay_process import RelayProcess
from tests.support.world import World

Work = Callable[[str, UUID], Awaitable[None]]
AT_REST: dict[str, Any] = {"heartbeat_seconds": 3600, "stale_seconds": 7200}
SAMPLED = 8
"""Kills per kind of work in the short form."""


class Step(NamedTuple):
    """One place to die: this chunk of the traffic with this server, before or after it is carried."""

    server: Literal["postgresql", "nats"]
    chunk: int
    when: Literal["before", "after"]


class Bench(NamedTuple):
    """A database, a stream, and the proxies a relay reaches them through."""

    world: World
    worktree: UUID
    proxies: dict[str, Proxy]
    through: World
    """The same world, reached through the proxies."""

    def start(self) -> RelayProcess:
        """A relay that sleeps until the doorbell rings: nothing but the work makes it exchange anything."""
        for proxy in self.proxies.values():
            proxy.go_on()
        return RelayProcess(self.through.database, self.through.nats_url, self.through.prefix, **AT_REST)

    async def rest(self) -> None:
        """Wait until the relay has nothing to do."""
        await asyncio.gather(*[proxy.quiet() for proxy in self.proxies.values()])

    async def published_or_dead(self, relay: RelayProcess) -> None:
        """Wait until the relay was killed, or has done its work."""
        async with (
            asyncio.timeout(20),
            await psycopg.AsyncConnection.connect(self.world.database, autocommit=True) as conn,
        ):
            while relay.is_running and not await is_published(conn, self.world.stream):
                await asyncio.sleep(0.01)
        if relay.is_running:
            await self.rest()


async def one_event(database: str, worktree: UUID) -> None:
    async with await psycopg.AsyncConnection.connect(database) as conn:
        await conn.execute("UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1 WHERE id = %s", [worktree])


async def a_batch(database: str, worktree: UUID) -> None:
    async with await psycopg.AsyncConnection.connect(database) as conn:
        for _ in range(5):
            await conn.execute("UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1 WHERE id = %s", [worktree])


async def a_batch_with_a_gap(database: str, worktree: UUID) -> None:
    """A batch whose ids surround those of a transaction that is still open, and of one that was rolled back."""
    async with (
        await psycopg.AsyncConnection.connect(database) as long,
        await psycopg.AsyncConnection.connect(database) as undone,
    ):
        await one_event(database, worktree)
        await long.execute("UPDATE projects SET description = gen_random_uuid()::text")
        await undone.execute("SELECT log_activity('agent', %s, 'modified', 'never')", [worktree])
        await undone.rollback()
        await a_batch(database, worktree)
        await long.execute("UPDATE projects SET description = gen_random_uuid()::text")


WORK = {"one event": one_event, "a batch": a_batch, "a batch with a gap": a_batch_with_a_gap}


@asynccontextmanager
async def bench(world: World) -> AsyncIterator[Bench]:
    async with (
        postgres_proxy(world.database) as (postgresql, database_through),
        nats_proxy(world.nats_url) as (nats, nats_through),
        await psycopg.AsyncConnection.connect(world.database) as conn,
    ):
        found = await conn.execute("SELECT register_project('steps', 'git@github.com:owner/steps.git')")
        found = await conn.execute("SELECT register_worktree(%s, 'feat', 'w', 'feat/w', '/w')", await found.fetchone())
        row = await found.fetchone()
        assert row is not None
        await conn.commit()
        proxies = {"postgresql": postgresql, "nats": nats}
        yield Bench(world, row[0], proxies, world.at(database=database_through, nats_url=nats_through))


async def steps_of(work: Work, on: Bench) -> list[Step]:
    """Every step of the cycle that publishes `work`, up to the relay's rest."""
    with on.through.process(**AT_REST) as relay:
        await relay.ready()
        await on.world.drained()
        await on.rest()
        for proxy in on.proxies.values():
            proxy.count_from_now()
        await work(on.world.database, on.worktree)
        await on.published_or_dead(relay)
        return [
            Step(server, chunk, when)  # type: ignore[arg-type]
            for server, proxy in on.proxies.items()
            for chunk in range(1, proxy.chunks + 1)
            for when in ("before", "after")
        ]


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("sampled", [SAMPLED, pytest.param(None, marks=pytest.mark.long)], ids=["some", "all"])
async def test_kill_at_any_step_of_a_cycle_loses_doubles_and_reorders_nothing(
    world: World, name: str, sampled: int | None
) -> None:
    work = WORK[name]

    async with bench(world) as on:
        steps = await steps_of(work, on)
        assert {step.server for step in steps} == {"postgresql", "nats"}
        if sampled:
            steps = random.Random(name).sample(steps, sampled)
        relay = on.start()
        try:
            for server, chunk, when in steps:
                is_killed = False
                while not is_killed:
                    assert chunk > 0, f"the relay did its work without a word to {server}"
                    await relay.ready()
                    await on.rest()
                    on.proxies[server].stop_at(chunk, when, relay.kill)
                    await work(world.database, on.worktree)
                    await on.published_or_dead(relay)
                    is_killed, carried = not relay.is_running, on.proxies[server].chunks
                    relay.close()
                    relay = on.start()  # its recovery is the test, and it is the next one to be killed
                    await world.drained()
                    (await world.audit()).assert_clean()
                    # How the traffic splits into chunks varies. Of a cycle that ended sooner, kill at the last one.
                    chunk = min(chunk - 1, carried)
        finally:
            relay.close()
