"""How long `up` takes until it is ready, and what of it PostgreSQL alone and the migrations are."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import psycopg

from benchmarks.harness.bounds import bounded
from benchmarks.harness.measure import Report, Target, interleaved
from benchmarks.harness.sizes import Sizes
from publisher.embedded.postgres import postgres
from registry.database import migrate

NEW, AGAIN = "new folder", "same folder again"
UP, POSTGRES = "imi-registry up", "PostgreSQL alone"
MIGRATIONS = "the migrations of an empty database"
MOST_SECONDS = 1.2


async def measure(sizes: Sizes, report: Report) -> None:
    """Add starts of `up` and of its parts, in a new folder and in the same one again."""
    found: dict[str, list[float]] = {}

    async def round_of(name: str, parts: dict[str, float]) -> float:
        for part, seconds in parts.items():
            found.setdefault(f"{name}, {part}" if part in {NEW, AGAIN} else part, []).append(seconds)
        return parts[NEW]

    async def up() -> float:
        return await round_of(UP, await _up())

    async def alone() -> float:
        return await round_of(POSTGRES, await asyncio.to_thread(_postgres))

    await interleaved({UP: up, POSTGRES: alone}, sizes.starts, warm_up=False)
    for name, values in found.items():
        report.add(name, "s", values)
    initdb, server, migrations = (
        median(found[name]) for name in (f"{POSTGRES}, {NEW}", f"{POSTGRES}, {AGAIN}", MIGRATIONS)
    )
    less = {
        NEW: {f"{POSTGRES}, {NEW}": initdb, f"{POSTGRES}, {NEW}, and then {MIGRATIONS}": initdb + migrations},
        AGAIN: {f"{POSTGRES}, {AGAIN}": server},
    }
    for folder, parts in less.items():
        target = Target(f"{UP}, {folder}, ready", "s", median(found[f"{UP}, {folder}"]), at_most=MOST_SECONDS)
        report.targets.append(bounded(target, parts, "Python and its modules, NATS, and the first answer of each part"))


async def _up() -> dict[str, float]:
    """Seconds until `up` has its `endpoints.json`."""
    with tempfile.TemporaryDirectory(prefix="imi-up-") as folder:
        start = partial(_up_seconds, Path(folder))
        return {NEW: await start(), AGAIN: await start()}


async def _up_seconds(folder: Path) -> float:
    start = perf_counter()
    command = [sys.executable, "-m", "publisher", "up", "--state-dir", str(folder), "--http-port", "0"]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    while not (folder / "endpoints.json").exists():
        assert process.returncode is None, "imi-registry up ended"
        await asyncio.sleep(0.005)
    seconds = perf_counter() - start
    process.send_signal(signal.SIGTERM)
    await process.wait()
    return seconds


def _postgres() -> dict[str, float]:
    """Seconds until PostgreSQL is ready as `up` starts it, and of the migrations; Python and its imports not among."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="imi-up-") as name:
        for folder in (NEW, AGAIN):
            start = perf_counter()
            with postgres(Path(name)) as server:
                found[folder] = perf_counter() - start
                if folder == NEW:
                    with psycopg.connect(server.url) as conn:
                        start = perf_counter()
                        migrate.apply(conn)
                    found[MIGRATIONS] = perf_counter() - start
    return found
