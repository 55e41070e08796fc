"""What a run attacks: two publishers, two appliers, a subscriber, PostgreSQL with a standby, three nats-servers.

Each party reaches each server by a line of its own, a proxy: so the network of one can be hurt and that of another not.
Servers reach one another by proxies, too.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from registry.database import migrate
from registry.subjects import Names
from tests.faults.suite import writers
from tests.support.nats.cluster import SIZE, Cluster, cluster
from tests.support.pgbouncer import BINARY, PgBouncer, pooler
from tests.support.postgres.queue import SMALL as SMALL_QUEUE
from tests.support.processes import COMMAND
from tests.support.proxy import Proxy, nats_proxy, postgres_proxy, proxied
from tests.support.relay_process import RelayProcess, ServiceProcess
from tests.support.servers.clock import Clock
from tests.support.servers.disks import Disk, can_mount, disk
from tests.support.servers.replicas import Pair, multi_host, pair
from tests.support.threads import in_thread

PREFIX = "imi"
MAX_CONNECTIONS = 80
POOLED_CONNECTIONS = 3
POSTGRES_SETTINGS = {"max_connections": str(MAX_CONNECTIONS), "max_prepared_transactions": "5"} | SMALL_QUEUE
POSTGRES_DISK, NATS_DISK = "pg0", "node0"
NATS_SETTINGS = {"max_payload": 8 * 1024 * 1024}
PUBLISHERS, APPLIERS = ("publisher-0", "publisher-1"), ("applier-0", "applier-1")
SUBSCRIBER, WRITERS = "subscriber", "writers"
ROUTES, REPLICATION, POOLER = "nats routes", "replication", "pgbouncer"
"""What connects servers."""
SERVICE_SETTINGS: dict[str, object] = {"command": COMMAND, "stream_replicas": SIZE}
EAGER_LANE: dict[str, object] = {
    "command": [sys.executable, "-m", "tests.faults.suite.eager_lane"],
    "batch_size": 200,
    "log_level": "debug",
}
"""Events go before the backlog of a second, which takes several batches, and the log says so."""


@dataclass
class Lines:
    """How one party reaches the servers."""

    postgres: list[Proxy]
    nats: list[Proxy]
    database_url: str
    nats_url: str

    @property
    def all(self) -> list[Proxy]:
        """To every server."""
        return [*self.postgres, *self.nats]


class Party:
    """A process that is ended and started again."""

    def __init__(self, name: str, spawn: Callable[[Path], ServiceProcess], folder: Path) -> None:
        self.name = name
        self._spawn = spawn
        self._folder = folder
        self._starts = 0
        self.process = self._start()

    async def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        await self.process.exit_code()

    async def stop(self) -> None:
        """End it in order."""
        self.process.stop()
        await self.process.exit_code()

    def start(self) -> None:
        """Start it again."""
        self.process.close()
        self.process = self._start()

    def _start(self) -> ServiceProcess:
        self._starts += 1
        return self._spawn(self._folder / f"{self.name}-{self._starts}.log")


@dataclass
class Installation:
    """Everything that runs; `installed` starts it."""

    folder: Path
    """Of the history: logs of the services are there, too."""
    database: Pair
    cluster: Cluster
    clock: Clock
    """Of PostgreSQL."""
    pooler: PgBouncer | None
    """In front of the primary; None where PgBouncer is not installed."""
    pooled_url: str | None
    """Of the primary through it."""
    disks: dict[str, Disk]
    """By the folder of the server that is alone on it, of one of each kind; empty where none can be mounted."""
    between: dict[str, list[Proxy]]
    """What carries the connections between servers, by what they are."""
    lines: dict[str, Lines] = field(default_factory=dict)
    parties: dict[str, Party] = field(default_factory=dict)

    @property
    def command_stream(self) -> str:
        """Name of the stream of commands."""
        return Names(PREFIX).commands.stream

    @property
    def event_stream(self) -> str:
        """Name of the stream that is judged."""
        return Names(PREFIX).event_stream


@asynccontextmanager
async def installed(directory: Path, folder: Path, *, is_eager: bool = False) -> AsyncIterator[Installation]:
    """Start all of it; servers store in `directory`. `is_eager` tells whether the first publisher has `EAGER_LANE`."""
    async with AsyncExitStack() as stack:
        clock = Clock(directory)
        names = (POSTGRES_DISK, NATS_DISK) if can_mount() else ()
        disks = {name: stack.enter_context(disk(directory / name)) for name in names}
        database = stack.enter_context(pair(directory, POSTGRES_SETTINGS, clock.binaries))
        with psycopg.connect(database.url) as conn:
            migrate.apply(conn)
            writers.prepare(conn)
        database.line = await stack.enter_async_context(proxied(database.open))
        await database.add_standby()
        nodes = await stack.enter_async_context(cluster(directory, **NATS_SETTINGS))
        between = {ROUTES: nodes.routes, REPLICATION: [database.line]}
        found = pooled_url = None
        if BINARY is not None:
            found, pooled_url, between[POOLER] = await _pooler(stack, database)
        there = Installation(folder, database, nodes, clock, found, pooled_url, disks, between)
        for name in (*PUBLISHERS, *APPLIERS, SUBSCRIBER, WRITERS):
            there.lines[name] = await _lines(stack, there)
        for name, spawn in _spawns(there, is_eager=is_eager).items():
            party = there.parties[name] = Party(name, spawn, folder)
            stack.callback(lambda party=party: party.process.close())
        for name in (*PUBLISHERS, *APPLIERS):
            await there.parties[name].process.ready()
        yield there


async def _pooler(stack: AsyncExitStack, database: Pair) -> tuple[PgBouncer, str, list[Proxy]]:
    """One, the URL through it, and what carries the connections behind it and before it."""
    behind = await stack.enter_async_context(proxied(database.open))
    parts = conninfo_to_dict(database.url) | {"host": "127.0.0.1", "port": behind.port}
    found = await in_thread(stack.enter_context, pooler(make_conninfo(**parts), POOLED_CONNECTIONS))
    before, url = await stack.enter_async_context(postgres_proxy(found.url))
    return found, url, [behind, before]


async def _lines(stack: AsyncExitStack, there: Installation) -> Lines:
    to_databases = [await stack.enter_async_context(postgres_proxy(url)) for url in there.database.urls]
    to_nodes = [await stack.enter_async_context(nats_proxy(node.url())) for node in there.cluster.nodes]
    return Lines(
        [proxy for proxy, _ in to_databases],
        [proxy for proxy, _ in to_nodes],
        multi_host([url for _, url in to_databases]),
        ",".join(url for _, url in to_nodes),
    )


def _spawns(there: Installation, *, is_eager: bool) -> dict[str, Callable[[Path], ServiceProcess]]:
    def service(name: str, parts: str) -> Callable[[Path], ServiceProcess]:
        line = there.lines[name]
        settings = SERVICE_SETTINGS | (EAGER_LANE if is_eager and name == PUBLISHERS[0] else {})
        return lambda log_file: RelayProcess(
            line.database_url, line.nats_url, PREFIX, parts=parts, log_file=log_file, **settings
        )

    def subscriber(log_file: Path) -> ServiceProcess:
        command = [sys.executable, "-m", "tests.faults.suite.subscriber", str(there.folder)]
        variables = {"NATS_URL": there.lines[SUBSCRIBER].nats_url, "IMI_PREFIX": PREFIX}
        return ServiceProcess(command, variables, log_file)

    found = {name: service(name, "publisher") for name in PUBLISHERS}
    found |= {name: service(name, "applier") for name in APPLIERS}
    return found | {SUBSCRIBER: subscriber}
