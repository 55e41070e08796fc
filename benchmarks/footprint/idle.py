"""Memory and CPU of `serve`: idle, while it publishes, and beside the least that could do so."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import psutil
import psycopg
from nats.aio.client import Client

from benchmarks.harness import backlog
from benchmarks.harness.bounds import bounded
from benchmarks.harness.cpu import process_seconds
from benchmarks.harness.measure import Report, Target
from benchmarks.harness.servers import Servers, drop_stream, fill_seconds, new_prefix
from benchmarks.harness.sizes import Sizes
from registry.broker.connection import connect_nats
from registry.subjects import Names

MEBIBYTE = 1024 * 1024
MOST_IDLE_CPU_PERCENT = 0.15
MOST_IDLE_MEBIBYTES = 60.0
OURS = "publisher.cli.main, publisher.cli.service, publisher.service"
"""What `imi-registry serve` imports of ours, and with it all that it needs of others."""
IDLE_CPU, LEAST_CPU = "serve, idle: CPU", "heartbeat, pings and a consumer that is asked, nothing else: CPU"
IDLE_MEMORY = "serve, idle: memory"
LEAST_MEMORY = "the libraries of serve, connected, and no line of ours: memory"
MODULES_MEMORY = "Python with all modules of serve, and nothing run: memory"
MODULES = f"""
import sys
sys.modules["rich"] = None
import {OURS}
print(open("/proc/self/statm").read().split()[1])
"""
LEAST_AT_REST = """
import sys
sys.modules["rich"] = None  # which structlog would take along
import asyncio, jinja2, nats.micro, orjson, prometheus_client, psycopg, psycopg_pool, pydantic, structlog, typer, uvloop
import starlette.applications, uvicorn.protocols.http.h11_impl
type("Model", (pydantic.BaseModel,), {})

async def ignore(message):
    pass

async def rest():
    conn = await psycopg.AsyncConnection.connect(sys.argv[1], autocommit=True)
    clients = [await nats.connect(sys.argv[2]) for _ in range(4)]
    await conn.execute("CREATE TEMP TABLE beat AS SELECT 1 AS epoch, now() AS at")
    inbox = clients[0].new_inbox()
    await clients[0].subscribe(inbox, cb=ignore)
    print("ready", flush=True)
    while True:
        for _ in range(2):
            await conn.execute("UPDATE beat SET at = now() WHERE epoch = %s RETURNING ctid", [1])
            await asyncio.sleep(0.5)
        await clients[0].publish("$JS.API.CONSUMER.MSG.NEXT.none.none", b"{}", reply=inbox)
        await asyncio.gather(*(client.flush() for client in clients))

uvloop.run(rest())
"""
"""The least that keeps a lead, asks for commands and knows whether NATS answers each part; it is told of none.

It has imported what `serve` imports of others.
"""


async def measure(servers: Servers, sizes: Sizes, report: Report) -> None:
    """Add what `serve` takes idle, and its memory with a backlog."""
    async with connect_nats(servers.nats_url, "bench") as client:
        await _service(servers, sizes, client, report)


async def _service(servers: Servers, sizes: Sizes, client: Client, report: Report) -> None:
    prefix = new_prefix()
    with servers.database() as url:
        async with servers.service(url, prefix) as pid:
            await _idle(pid, url, servers.nats_url, sizes, report)
            events = sizes.growth_backlog
            total = await asyncio.to_thread(backlog.fill, url, events)
            await fill_seconds(client, prefix, total)
            report.add(f"serve, while {total:,} events are written: peak memory", "MiB", [_peak_mebibytes(pid)])
        await drop_stream(client, prefix)
        total = await asyncio.to_thread(backlog.fill, url, sizes.footprint_backlog)
        prefix = new_prefix()
        async with servers.service(url, prefix) as pid:
            await fill_seconds(client, prefix, total)
            record_event(report, *await _bytes_of_event(client, prefix, url))
            report.add(f"serve, draining a backlog of {total:,} events: peak memory", "MiB", [_peak_mebibytes(pid)])
        await drop_stream(client, prefix)


def record_event(report: Report, stream_bytes: float, outbox_bytes: float) -> None:
    """Add how large an event is in either place."""
    report.add("an event in the stream", "bytes", [stream_bytes])
    report.add("an event in the outbox, with its index", "bytes", [outbox_bytes])


async def _bytes_of_event(client: Client, prefix: str, database_url: str) -> tuple[float, float]:
    state = (await client.jetstream().stream_info(Names(prefix).event_stream)).state
    with psycopg.connect(database_url) as conn:
        row = conn.execute("SELECT pg_total_relation_size('outbox')::float8 / count(*) FROM outbox").fetchone()
    assert row is not None
    return state.bytes / state.messages, float(row[0])


async def _idle(pid: int, database_url: str, nats_url: str, sizes: Sizes, report: Report) -> None:
    """What `serve` takes of a core, while a process rests beside it as it must, with no line of ours."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEAST_AT_REST, database_url, nats_url, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"ready\n"
    await asyncio.sleep(1)  # the start itself is no idling
    spent: dict[str, list[float]] = {IDLE_CPU: [], LEAST_CPU: []}
    processes = dict(zip(spent, (pid, child.pid), strict=True))
    wakes = []
    for _ in range(sizes.idle_rounds):
        before = {name: process_seconds(process) for name, process in processes.items()}
        waits = psutil.Process(pid).num_ctx_switches().voluntary
        await asyncio.sleep(sizes.idle_seconds)
        wakes.append((psutil.Process(pid).num_ctx_switches().voluntary - waits) / sizes.idle_seconds)
        for name, process in processes.items():
            spent[name].append(100 * (process_seconds(process) - before[name]) / sizes.idle_seconds)
    memory = {IDLE_MEMORY: _resident_mebibytes(pid), LEAST_MEMORY: _resident_mebibytes(child.pid)}
    memory[MODULES_MEMORY] = await asyncio.to_thread(_modules_mebibytes)
    child.terminate()
    await child.wait()
    report.add("serve, idle: wake-ups", "a second", wakes)
    record_idle(report, spent, memory)


def record_idle(report: Report, spent: Mapping[str, Sequence[float]], memory: Mapping[str, float]) -> None:
    """Add what of a core and how much memory each takes that rests, and the targets."""
    for name, percent in spent.items():
        report.add(name, "% of a core", percent)
    target = Target(IDLE_CPU, "% of a core", median(spent[IDLE_CPU]), at_most=MOST_IDLE_CPU_PERCENT)
    rest = "health of each part, gauges, counts to fold, months to make"
    report.targets.append(bounded(target, {LEAST_CPU: median(spent[LEAST_CPU])}, rest))
    for name, mebibytes in memory.items():
        report.add(name, "MiB", [mebibytes])
    target = Target(IDLE_MEMORY, "MiB", memory[IDLE_MEMORY], at_most=MOST_IDLE_MEBIBYTES)
    less = {name: memory[name] for name in (LEAST_MEMORY, MODULES_MEMORY)}
    report.targets.append(bounded(target, less, "our modules, and what they keep"))


def _resident_mebibytes(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / MEBIBYTE


def _modules_mebibytes() -> float:
    """The resident set of a process that imports what `serve` does, and does nothing."""
    done = subprocess.run([sys.executable, "-c", MODULES], check=True, capture_output=True, text=True)
    return int(done.stdout) * os.sysconf("SC_PAGESIZE") / MEBIBYTE


def _peak_mebibytes(pid: int) -> float:
    """The largest resident set the process ever had, as Linux keeps it (VmHWM, in kB)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
