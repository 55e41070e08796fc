"""Memory and CPU of `serve`: idle, while it publishes, and beside the least that could do so."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
from nats.aio.client import Client

from benchmarks.harness import backlog
from benchmarks.harness.measure import Report, Target
from benchmarks.harness.servers import Servers, drop_stream, fill_seconds, new_prefix
from benchmarks.harness.sizes import Sizes
from registry.broker.connection import connect_nats
from registry.subjects import Names

MEBIBYTE = 1024 * 1024
MOST_IDLE_CPU_PERCENT = 0.15
MOST_IDLE_MEBIBYTES = 60.0
LIBRARIES = (
    "psycopg, psycopg_pool, pydantic, nats.js, structlog, typer, uvicorn, starlette, jinja2, prometheus_client, uvloop"
)
"""What `serve` imports of others. It leaves out rich, which structlog would take along."""
LEAST_CPU = "heartbeat and pings, nothing else: CPU"
LEAST_MEMORY = "Python with the libraries of serve, and no line of ours: memory"
LIBRARIES_ALONE = f"""
import sys
sys.modules["rich"] = None
import {LIBRARIES}
print(open("/proc/self/statm").read().split()[1])
"""
LEAST_AT_REST = """
import asyncio, sys, nats, psycopg, uvloop

async def rest():
    conn = await psycopg.AsyncConnection.connect(sys.argv[1], autocommit=True)
    clients = [await nats.connect(sys.argv[2]) for _ in range(4)]
    await conn.execute("CREATE TEMP TABLE beat AS SELECT 1 AS epoch, now() AS at")
    print("ready", flush=True)
    while True:
        for _ in range(2):
            await conn.execute("UPDATE beat SET at = now() WHERE epoch = %s RETURNING ctid", [1])
            await asyncio.sleep(0.5)
        await asyncio.gather(*(client.flush() for client in clients))

uvloop.run(rest())
"""
"""The least that keeps a lead and knows whether NATS answers each part: a heartbeat every half second, and pings."""


async def measure(servers: Servers, sizes: Sizes, report: Report) -> None:
    """Add what `serve` takes idle, and its memory with a backlog."""
    async with connect_nats(servers.nats_url, "bench") as client:
        await _service(servers, sizes, client, report)


async def _service(servers: Servers, sizes: Sizes, client: Client, report: Report) -> None:
    prefix = new_prefix()
    with servers.database() as url:
        async with servers.service(url, prefix) as pid:
            process = psutil.Process(pid)
            await asyncio.sleep(1)  # the start itself is no idling
            before, waits_before = process.cpu_times(), process.num_ctx_switches().voluntary
            await asyncio.sleep(sizes.idle_seconds)
            after, waits_after = process.cpu_times(), process.num_ctx_switches().voluntary
            spent = 100 * (after.user + after.system - before.user - before.system) / sizes.idle_seconds
            report.add("serve, idle: CPU", "% of a core", [spent])
            least = await _least_cpu_percent(url, servers.nats_url, sizes.idle_seconds)
            report.add(LEAST_CPU, "% of a core", [least])
            bound = f"`{LEAST_CPU}` has {least:.2f} %"
            limit = MOST_IDLE_CPU_PERCENT
            report.targets.append(Target("serve, idle: CPU", "% of a core", spent, at_most=limit, bound=bound))
            wakes = (waits_after - waits_before) / sizes.idle_seconds
            report.add("serve, idle: wake-ups", "a second", [wakes])
            memory, least = process.memory_info().rss / MEBIBYTE, _libraries_mebibytes()
            report.add("serve, idle: memory", "MiB", [memory])
            report.add(LEAST_MEMORY, "MiB", [least])
            bound = f"`{LEAST_MEMORY}` has {least:.1f} MiB"
            limit = MOST_IDLE_MEBIBYTES
            report.targets.append(Target("serve, idle: memory", "MiB", memory, at_most=limit, bound=bound))
            events = sizes.growth_backlog
            total = await asyncio.to_thread(backlog.fill, url, events)
            await fill_seconds(client, prefix, total)
            report.add(f"serve, while {total:,} events are written: peak memory", "MiB", [_peak_mebibytes(pid)])
        await drop_stream(client, prefix)
        total = await asyncio.to_thread(backlog.fill, url, sizes.footprint_backlog)
        prefix = new_prefix()
        async with servers.service(url, prefix) as pid:
            await fill_seconds(client, prefix, total)
            await _bytes_per_event(client, prefix, url, report)
            report.add(f"serve, draining a backlog of {total:,} events: peak memory", "MiB", [_peak_mebibytes(pid)])
        await drop_stream(client, prefix)


async def _bytes_per_event(client: Client, prefix: str, database_url: str, report: Report) -> None:
    state = (await client.jetstream().stream_info(Names(prefix).event_stream)).state
    report.add("an event in the stream", "bytes", [state.bytes / state.messages])
    with psycopg.connect(database_url) as conn:
        row = conn.execute("SELECT pg_total_relation_size('outbox')::float8 / count(*) FROM outbox").fetchone()
    assert row is not None
    report.add("an event in the outbox, with its index", "bytes", [row[0]])


async def _least_cpu_percent(database_url: str, nats_url: str, seconds: float) -> float:
    """The CPU of a process that rests as `serve` must, with the same libraries and no line of ours."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEAST_AT_REST, database_url, nats_url, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"ready\n"
    process = psutil.Process(child.pid)
    before = process.cpu_times()
    await asyncio.sleep(seconds)
    after = process.cpu_times()
    child.terminate()
    await child.wait()
    return 100 * (after.user + after.system - before.user - before.system) / seconds


def _libraries_mebibytes() -> float:
    """The resident set of a process that imports what `serve` imports of others, and does nothing."""
    pages = subprocess.run([sys.executable, "-c", LIBRARIES_ALONE], check=True, capture_output=True, text=True).stdout
    return int(pages) * os.sysconf("SC_PAGESIZE") / MEBIBYTE


def _peak_mebibytes(pid: int) -> float:
    """The largest resident set the process ever had, as Linux keeps it (VmHWM, in kB)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
