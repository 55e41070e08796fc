"""A side at work: its database, its stream and its process, which may be killed and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
from nats.aio.client import Client
from nats.js.api import StreamConfig

from benchmarks.capture.servers import CaptureServers
from benchmarks.capture.sides import Place, Side, Start
from benchmarks.harness.cpu import tree_seconds
from benchmarks.harness.servers import drop_stream, new_prefix
from benchmarks.writers import WORKTREES
from registry.subjects import Names

ROOT = Path(__file__).parent.parent.parent
START_SECONDS, STOP_SECONDS = 120.0, 15.0
LOG, MOST_WORDS = "publisher.log", 500
CONFIRMED = "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = %s"
END_READER = """
SELECT pg_terminate_backend(active_pid, 10000)
FROM pg_replication_slots
WHERE slot_name = %s AND active
"""
DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"


class Publisher:
    """One side, ready to be written to."""

    def __init__(self, side: Side, place: Place, client: Client, conn: psycopg.Connection) -> None:
        self.side = side
        self.place = place
        self.client = client
        self.conn = conn
        """For questions about the database; commits each by itself."""
        self._process: subprocess.Popen[bytes] | None = None
        self._spent = 0.0

    async def start(self) -> None:
        """Start the process and wait until it takes changes. Raises `RuntimeError` with its words when it does not."""
        if self.side.start is None:
            return
        start = self.side.start(self.place)
        log = self.place.folder / LOG
        async with asyncio.timeout(START_SECONDS):
            while True:
                self._process = _launched(start, self.place.folder, log)
                if await _holds(lambda: self._is_ready(log), lambda: self._has_ended()):
                    return
                # Behind a kill the server may still hold the slot for the connection that is gone.
                await asyncio.sleep(0.5)

    async def stop(self) -> None:
        """End the process as its user would, and kill it when it does not end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            await self.kill()
        self._process = None

    async def kill(self) -> None:
        """End it without a warning. Raises `RuntimeError` when it has ended by itself."""
        assert self._process is not None
        self._spent += self._running_seconds()
        self._process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self._process.wait)

    def cpu_seconds(self) -> tuple[float, float, float]:
        """Of PostgreSQL, of the publisher, of nats-server; so far. Raises `RuntimeError` when the second has ended."""
        servers = self.place.servers
        spent = self._spent + self._running_seconds()
        return tree_seconds(servers.postgres_pid), spent, tree_seconds(servers.nats_pid)

    def wal_position(self) -> int:
        """Bytes of WAL written so far."""
        return self._number("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")

    def confirmed_position(self) -> int:
        """Bytes of WAL that the reader of the slot has said it has."""
        return self._number(CONFIRMED, [self.place.slot])

    async def stored(self) -> int:
        """Messages in the stream; 0 when nothing is delivered."""
        if self.side.row is None:
            return 0
        return (await self.client.jetstream().stream_info(self.place.stream)).state.messages

    def _number(self, query: str, parameters: list[str] | None = None) -> int:
        row = self.conn.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return int(row[0])

    def _running_seconds(self) -> float:
        """Of the process that runs; nothing where nobody publishes."""
        if self._process is None:
            return 0.0
        if self._has_ended():
            words = (self.place.folder / LOG).read_text(errors="replace")[-MOST_WORDS:]
            raise RuntimeError(f"{self.side.name} ended with {self._process.returncode}: {words}")
        return tree_seconds(self._process.pid)

    def _is_ready(self, log: Path) -> bool:
        if self.side.tells_ready:
            return b'"ready"' in log.read_bytes()
        query = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s AND active"
        return self._number(query, [self.place.slot]) == 1

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


@asynccontextmanager
async def publisher(side: Side, servers: CaptureServers, client: Client, rows: int) -> AsyncIterator[Publisher]:
    """`side` with a database of `rows` worktrees and a stream of its own; all of it goes with the block."""
    prefix = new_prefix()
    with (
        tempfile.TemporaryDirectory(prefix="imi-side-") as name,
        servers.database() as url,
        psycopg.connect(url, autocommit=True) as conn,
    ):
        place = Place(servers, url, prefix, Path(name))
        conn.execute("SET session_replication_role = replica")  # the events of the rows themselves are nobody's load
        conn.execute(WORKTREES, [rows])
        conn.execute("RESET session_replication_role")
        side.prepare(conn, place)
        conn.execute("VACUUM ANALYZE")
        if side.row is not None and not side.makes_stream:
            names = Names(prefix)
            await client.jetstream().add_stream(StreamConfig(name=names.event_stream, subjects=[names.event_subjects]))
        running = Publisher(side, place, client, conn)
        try:
            await running.start()
            yield running
        finally:
            await running.stop()
            await asyncio.to_thread(_drop_slot, conn, place.slot)
            if side.row is not None:
                await drop_stream(client, prefix)


def _launched(start: Start, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """In a folder that goes away: Debezium's engine writes logs where it is started."""
    paths = os.pathsep.join(path for path in (str(ROOT), os.environ.get("PYTHONPATH", "")) if path)
    with log.open("wb") as output:
        process = subprocess.Popen(
            start.command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": paths} | dict(start.environment),
        )
    assert process.stdin is not None
    process.stdin.write(start.standard_input.encode())
    process.stdin.close()
    return process


def _drop_slot(conn: psycopg.Connection, slot: str) -> None:
    """Or the database could not be dropped. Its reader is gone; its connection may not be yet."""
    conn.execute(END_READER, [slot])
    conn.execute(DROP_SLOT, [slot])


async def _holds(condition: Callable[[], bool], given_up: Callable[[], bool]) -> bool:
    """Wait until `condition()`, or until `given_up()`; whether it holds."""
    while not condition():
        if given_up():
            return False
        await asyncio.sleep(0.05)
    return True
