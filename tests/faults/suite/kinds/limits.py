"""Limits that are reached: of connections, of PostgreSQL's queue of notifications, of streams, of disks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

import psycopg

from registry.concurrency.tasks import end
from tests.faults.suite.fault import ALONE, fault
from tests.faults.suite.installation import MAX_CONNECTIONS, NATS_DISK, POSTGRES_DISK, PUBLISHERS, Installation
from tests.faults.suite.kinds.nats import NATS
from tests.faults.suite.kinds.postgresql import POSTGRESQL
from tests.faults.suite.leading import leading_publisher
from tests.support.nats.streams import configuration, configure_stream
from tests.support.postgres.queue import filled_queue
from tests.support.servers.disks import can_mount
from tests.support.threads import in_thread

AGAIN_SECONDS = 0.02
NO_DISK = None if can_mount() else "no file system can be mounted"


@fault("no connection left", POSTGRESQL, longest_seconds=5)
async def no_connection_left(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    taken = []
    with suppress(psycopg.OperationalError):
        for _ in range(MAX_CONNECTIONS):
            taken.append(await psycopg.AsyncConnection.connect(there.database.url))
    if rng.random() < 0.5:  # who leads must find another connection
        await taken[0].execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'imi-registry%'"
        )
    yield
    for conn in taken:
        await conn.close()


@fault("no connection left at a takeover", ALONE, longest_seconds=6)
async def no_connection_left_at_a_takeover(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    """The leader is killed, and each connection that anybody gives up is taken at once."""
    async with _taking_connections(there):
        leader = await leading_publisher(there) or rng.choice(PUBLISHERS)
        await there.parties[leader].kill()
        yield
    there.parties[leader].start()


@asynccontextmanager
async def _taking_connections(there: Installation) -> AsyncIterator[None]:
    taken: list[psycopg.AsyncConnection] = []

    async def take() -> None:
        while True:
            try:
                taken.append(await psycopg.AsyncConnection.connect(there.database.url))
            except psycopg.OperationalError:
                await asyncio.sleep(AGAIN_SECONDS)

    task = asyncio.create_task(take())
    try:
        yield
    finally:
        await end([task])
        for conn in taken:
            await conn.close()


@fault("notification queue full", POSTGRESQL, longest_seconds=8)
async def notification_queue_full(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    with ExitStack() as stack:
        await in_thread(stack.enter_context, filled_queue(there.database.url))
        yield


def _declare(name: str, stream: str) -> None:
    @fault(name, NATS, longest_seconds=6)
    async def full(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        """As many messages as it has are its limit, and what comes is refused."""
        found = {"events": there.event_stream, "commands": there.command_stream}[stream]
        before, messages = await configuration(there.cluster, found)
        limits = {"max_msgs": max(messages, 1), "discard": "new"}
        await configure_stream(there.cluster, before | limits)
        yield
        await configure_stream(there.cluster, before)


_declare("event stream full", "events")
_declare("command stream full", "commands")


@fault("disk of postgresql full", POSTGRESQL, longest_seconds=4, lacks=NO_DISK)
async def postgresql_disk_full(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    """That of the primary or of the standby, whichever is on it now."""
    disk = there.disks[POSTGRES_DISK]
    await in_thread(disk.fill)
    yield
    await in_thread(disk.make_room)
    await there.database.start_what_ended()


@fault("disk of a nats node full", NATS, longest_seconds=6, lacks=NO_DISK)
async def nats_disk_full(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    """A nats-server that could not write stores nothing until it is restarted."""
    disk = there.disks[NATS_DISK]
    await in_thread(disk.fill)
    yield
    await in_thread(disk.make_room)
    await there.cluster.stop(0)
    await there.cluster.start(0)
