"""Writers beside some work: what a write takes of PostgreSQL's processor, and how long its writer waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from threading import Event
from time import perf_counter
from typing import NamedTuple

import psycopg
from psycopg import Connection

from benchmarks.harness.cpu import process_seconds
from benchmarks.harness.measure import percentile

WRITE = """
UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1 WHERE path = '/bench/feat-' || %(number)s AND active
"""


class Load(NamedTuple):
    """What writers paid meanwhile."""

    microseconds: float
    """CPU time of a write, of the server processes of the writers."""
    p99_ms: float
    slowest_ms: float


class Writers:
    """Connections that stay, each with a thread of its own while it writes; one row of their own a transaction."""

    def __init__(self, database_url: str, clients: int, rows: int) -> None:
        """`rows` worktrees are there, as `benchmarks.writers` registers them."""
        self._conns = [psycopg.connect(database_url, autocommit=True, prepare_threshold=0) for _ in range(clients)]
        self._each = rows // clients

    def close(self) -> None:
        """End the connections."""
        for conn in self._conns:
            conn.close()

    async def beside(self, work: Awaitable[object]) -> Load:
        """Write until `work` has ended."""
        enough = Event()
        before = self._cpu_seconds()
        writing = [asyncio.to_thread(self._write, conn, at, enough) for at, conn in enumerate(self._conns)]
        written = asyncio.gather(*writing)
        try:
            await work
        finally:
            enough.set()
            times = [time for each in await written for time in each]
        spent = self._cpu_seconds() - before
        return Load(1e6 * spent / len(times), percentile(times, 99), max(times))

    def _write(self, conn: Connection, at: int, enough: Event) -> list[float]:
        """Milliseconds of each write; no two writers have a row in common."""
        times: list[float] = []
        while not enough.is_set() or not times:
            number = at * self._each + len(times) * 7_919 % self._each + 1
            began = perf_counter()
            conn.execute(WRITE, {"number": str(number)})
            times.append(1000 * (perf_counter() - began))
        return times

    def _cpu_seconds(self) -> float:
        return sum(process_seconds(conn.info.backend_pid) for conn in self._conns)
