"""Faults of every kind in random order; judged by what writers were confirmed and readers were told, no more."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from registry.client import Delivery, RegistryClient
from registry.concurrency.tasks import end
from registry.database import migrate
from tests.faults.relay.test_server_restarts import Restartable
from tests.support.audit import connected, messages
from tests.support.proxy import Proxy, nats_proxy, postgres_proxy
from tests.support.relay_process import RelayProcess
from tests.support.witness import (
    Entry,
    Verdict,
    Written,
    entry_of,
    judge,
    origin_of,
    write_commands,
    write_sql,
)
from tests.support.world import World

SQL_ROWS, COMMAND_ROWS = [f"s{number}" for number in range(6)], ["c0", "c1"]
CALM = 5
"""After so many faults there is time for a command to be answered."""
CLEAN = Verdict([], [], [], [])


class Faults:
    """What happens to a run: each method is one fault, over when it returns."""

    def __init__(self, database: Restartable, nats: Restartable, proxies: list[Proxy], there: World) -> None:
        self._database, self._nats, self._proxies = database, nats, proxies
        self._there = there
        self._stack = ExitStack()
        self._publishers = [self._publisher(), self._publisher()]

    def _publisher(self) -> RelayProcess:
        return self._stack.enter_context(self._there.process(heartbeat_seconds=0.5, stale_seconds=3))

    async def ready(self) -> None:
        for publisher in self._publishers:
            await publisher.ready()

    async def kill_publisher(self, rng: random.Random) -> None:
        at = rng.randrange(2)
        self._publishers[at].kill()
        await self._publishers[at].exit_code()
        self._publishers[at] = self._publisher()

    async def restart_nats(self, rng: random.Random) -> None:
        await self._nats.stop(is_crash=rng.random() < 0.5)
        await self._nats.start()

    async def restart_postgresql(self, rng: random.Random) -> None:
        await self._database.stop(is_crash=rng.random() < 0.5)
        await self._database.start()

    async def cut_connections(self, rng: random.Random) -> None:
        rng.choice(self._proxies).cut()

    def close(self) -> None:
        self._stack.close()


def entries(payloads: Iterable[bytes]) -> list[Entry]:
    """The witnesses' changes among events."""
    return [entry for payload in payloads if (entry := entry_of(payload)) is not None]


@pytest.fixture
def servers(state_dir: Path) -> Iterator[tuple[Restartable, Restartable]]:
    """PostgreSQL and NATS of this test's own, durable as in production."""
    with (
        Restartable(lambda: postgres(state_dir)) as database,
        Restartable(lambda: nats_server(state_dir)) as nats,
    ):
        with psycopg.connect(database.url) as conn:
            migrate.apply(conn)
            for row in SQL_ROWS + COMMAND_ROWS:
                conn.execute("SELECT register_project(%s, %s)", [row, origin_of(row)])
        yield database, nats


@pytest.mark.parametrize("faults", [20, pytest.param(400, marks=pytest.mark.long)])
async def test_what_was_confirmed_is_told_once_and_in_order_and_nothing_else_is(
    world: World, servers: tuple[Restartable, Restartable], faults: int
) -> None:
    seed = secrets.token_hex(4)
    print(f"seed {seed}")
    rng = random.Random(seed)
    written, handled = Written(), list[Entry]()

    async def handle(delivery: Delivery) -> None:
        handled.extend(entries([delivery.payload]))

    # given
    database, nats = servers
    async with (
        postgres_proxy(database.url) as (first, database_url),
        nats_proxy(nats.url) as (second, nats_url),
    ):
        there = world.at(database=database_url, nats_url=nats_url)
        run = Faults(database, nats, [first, second], there)
        try:
            await run.ready()
            async with (
                RegistryClient.connect(nats_url, prefix=world.prefix) as client,
                asyncio.TaskGroup() as tasks,
            ):
                stop = asyncio.Event()
                subscription = tasks.create_task(client.subscribe(handle, durable="witness", from_start=True))
                writers = [tasks.create_task(write_sql(database_url, row, written, stop)) for row in SQL_ROWS]
                writers += [tasks.create_task(write_commands(client, row, written, stop)) for row in COMMAND_ROWS]

                # when
                for number in range(faults):
                    await written.reach(rng.randrange(1, 60), SQL_ROWS)
                    if number % CALM == 0:
                        await written.reach(1, COMMAND_ROWS)
                    fault = rng.choice(
                        [run.kill_publisher, run.restart_nats, run.restart_postgresql, run.cut_connections]
                    )
                    await fault(rng)
                stop.set()
                await asyncio.wait(writers)

                # then
                async with connected(nats.url) as direct:
                    await there.at(nats=direct).commands_done(120)
                await there.at(database=database.url).drained(120)
                with suppress(TimeoutError):  # what is missing then is told below
                    async with asyncio.timeout(45):
                        while written.confirmed - set(handled):
                            await asyncio.sleep(0.05)
                await end([subscription])
            assert judge(written, handled)._replace(doubled=[]) == CLEAN  # an event may be handled twice
            async with connected(nats.url) as direct:
                stored = [message.data async for message in messages(direct, world.stream)]
                replayed = [event.payload for event in await there.at(nats=direct).replayed()]
            assert judge(written, entries(stored)) == CLEAN
            assert judge(written, entries(replayed)) == CLEAN
        finally:
            run.close()
    assert {entry.row for entry in written.confirmed} == {*SQL_ROWS, *COMMAND_ROWS}
