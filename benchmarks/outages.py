"""A server that is away: what grows meanwhile, and how fast it catches up afterwards; and the WAL of one write."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import psutil
import psycopg

from benchmarks.harness import backlog
from benchmarks.harness.measure import Report, Target
from benchmarks.harness.servers import POSTGRES_SETTINGS, Servers, new_prefix
from benchmarks.harness.sizes import Sizes
from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from publisher.embedded.process import FIRST, Start
from registry.broker.connection import connect_nats
from registry.client import RegistryClient
from registry.database import migrate
from registry.subjects import Names

MEBIBYTE = 1024 * 1024
PATIENCE_SECONDS = 600
SENDERS = 16
SINGLE = "UPDATE worktrees SET ahead_of_trunk = %s, last_commit_hash = md5(%s::text) WHERE name = %s"
STORED = "SELECT count(*), pg_total_relation_size('outbox')::float8 FROM outbox"


class Away(NamedTuple):
    """What was found over both outages."""

    wal_bytes: float
    """Of a write, its event and mostly a cursor."""
    event_bytes: float
    mebibytes: float
    """Of `serve` while NATS was away."""
    events_per_second: float
    command_bytes: float
    commands_per_second: float
    wrong: int
    """Events that only one of outbox and stream has, or the stream twice."""


async def run(servers: Servers, sizes: Sizes) -> Report:  # noqa: ARG001  # these are stopped: servers of its own
    """Bytes and rates over an outage of NATS, then over one of PostgreSQL, while `serve` runs on."""
    report = Report(
        "outages",
        f"`imi-registry serve` runs on while NATS is away and {sizes.backlog:,} events are written, then while "
        f"PostgreSQL is away and {sizes.commands:,} commands are sent. Rates are from the moment the server is back "
        "until nothing waits: the time that `serve` needs to notice is in them.",
    )
    with tempfile.TemporaryDirectory(prefix="imi-away-") as name, ExitStack() as database, ExitStack() as broker:
        folder = Path(name)

        def start_database() -> str:
            return database.enter_context(postgres(folder, settings=POSTGRES_SETTINGS)).url

        def start_broker(start: Start = FIRST) -> str:
            return broker.enter_context(nats_server(folder, start=start)).url

        here = Servers(start_database(), start_broker())
        with psycopg.connect(here.admin_url) as conn:
            migrate.apply(conn)
        prefix = new_prefix()
        async with here.service(here.admin_url, prefix) as pid:
            await asyncio.to_thread(backlog.fill, here.admin_url, sizes.commands)
            await _published(here, prefix)
            wal_bytes = await _wal_bytes(here, prefix, sizes)

            before = _stored(here.admin_url)
            broker.close()
            await asyncio.to_thread(backlog.fill, here.admin_url, sizes.backlog)
            after = _stored(here.admin_url)
            events, event_bytes = (late - early for late, early in zip(after, before, strict=True))
            mebibytes = psutil.Process(pid).memory_info().rss / MEBIBYTE
            start_broker(Start(is_again=True))
            events_per_second = events / await _published(here, prefix)

            async with RegistryClient.connect(here.nats_url, prefix=prefix) as client:
                worktree = str(_first_worktree(here.admin_url))
                database.close()
                await _send(client, worktree, sizes.commands)
                messages, size = await _held(here, Names(prefix).commands.stream)
                start_database()
                commands_per_second = sizes.commands / await _done(here, prefix)
            await _published(here, prefix)
        total = _stored(here.admin_url)[0]
        held, _ = await _held(here, Names(prefix).event_stream)
        found = Away(
            *(wal_bytes, event_bytes / events, mebibytes, events_per_second),
            *(size / max(messages, 1), commands_per_second, abs(total - held)),
        )
    record(report, found)
    return report


def record(report: Report, found: Away) -> None:
    """Add each figure, and the target."""
    report.add("WAL of a write, its event, and the cursor", "bytes", [found.wal_bytes])
    report.add("NATS away: an event in the outbox", "bytes", [found.event_bytes])
    report.add("NATS away: memory of serve", "MiB", [found.mebibytes])
    report.add("NATS back: catching up", "events/s", [found.events_per_second])
    report.add("PostgreSQL away: a command that waits", "bytes", [found.command_bytes])
    report.add("PostgreSQL back: commands", "commands/s", [found.commands_per_second])
    report.targets.append(Target("events lost or doubled over both", "", found.wrong, at_most=0))


async def _wal_bytes(here: Servers, prefix: str, sizes: Sizes) -> float:
    """Of writes that are transactions of their own, each with its event and, mostly, a cursor stored for it alone."""
    with psycopg.connect(here.admin_url, autocommit=True) as conn:
        start = conn.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        for number in range(sizes.commands):
            conn.execute(SINGLE, [number % 1000 + 2000, number, f"feat-{number % 100}"])
        await _published(here, prefix)
        row = conn.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s::pg_lsn)::float8", start).fetchone()
    assert row is not None
    return float(row[0]) / sizes.commands


def _stored(url: str) -> tuple[int, float]:
    """Events in the outbox, and its bytes."""
    with psycopg.connect(url) as conn:
        row = conn.execute(STORED).fetchone()
    assert row is not None
    return row[0], row[1]


def _first_worktree(url: str) -> object:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT id FROM worktrees ORDER BY name LIMIT 1").fetchone()
    assert row is not None
    return row[0]


async def _send(client: RegistryClient, worktree: str, commands: int) -> None:
    """So many commands, as several senders would."""

    async def some(first: int) -> None:
        for number in range(first, commands, SENDERS):
            await client.post("worktree.update_git_state", {"worktree_id": worktree, "ahead": number + 5000})

    async with asyncio.TaskGroup() as tasks:
        for first in range(SENDERS):
            tasks.create_task(some(first))


async def _published(here: Servers, prefix: str) -> float:
    """Seconds until the stream holds every event of the outbox."""
    start = perf_counter()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            held, _ = await _held(here, Names(prefix).event_stream)
            if held >= _stored(here.admin_url)[0]:
                return perf_counter() - start
            await asyncio.sleep(0.1)


async def _done(here: Servers, prefix: str) -> float:
    """Seconds until no command waits."""
    start = perf_counter()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            waiting, _ = await _held(here, Names(prefix).commands.stream)
            if not waiting:
                return perf_counter() - start
            await asyncio.sleep(0.1)


async def _held(here: Servers, stream: str) -> tuple[int, int]:
    """Messages and bytes of a stream."""
    async with connect_nats(here.nats_url, "bench") as client:
        state = (await client.jetstream().stream_info(stream)).state
    return state.messages, state.bytes
