"""Console: what open pages cost the events, by the same latencies with none open and with fifty."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from statistics import median
from urllib.parse import urlsplit

import psutil
import psycopg

from benchmarks.harness import backlog
from benchmarks.harness.measure import Report, Target, interleaved, percentile, ratio
from benchmarks.harness.servers import Servers, drop_stream, new_prefix
from benchmarks.harness.sizes import Sizes
from benchmarks.latency import latencies
from registry.broker.connection import connect_nats

RATE = 100
PAGES = ("/live/events?health=1", "/live/overview")
"""What a page that is open asks for and goes on reading, in turn."""
READERS = """
import asyncio, sys

async def read(port, path):
    while True:  # an answer that is over is asked for again, as a browser does
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n".encode())
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        assert b" 200 " in head.splitlines()[0], head
        print("open", flush=True)
        while await reader.read(65536):
            pass
        writer.close()

async def main(port, count, *paths):
    await asyncio.gather(*(read(port, paths[number % len(paths)]) for number in range(count)))

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
"""
"""The readers: a process of their own, as browsers are."""


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Milliseconds from commit to delivery, with no page open and with `sizes.open_pages`."""
    report = Report(
        "console",
        f"{RATE} commits a second, as for the latency above, while nobody looks at the console, and while "
        f"{sizes.open_pages} pages are open, the live list of events and the overview in turn, read by a process of "
        "their own that takes its share of the same CPUs, as browsers would on this machine.",
    )
    found: dict[int, list[list[float]]] = {0: [], sizes.open_pages: []}
    cpu: dict[int, list[float]] = {0: [], sizes.open_pages: []}
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect_nats(servers.nats_url, "bench"))
        url, prefix = stack.enter_context(servers.database()), new_prefix()
        with psycopg.connect(url) as conn:
            backlog.prepare(conn)
        process_id, http_url = await stack.enter_async_context(servers.console(url, prefix))

        async def side(pages: int) -> float:
            async with _opened(http_url, pages):
                before = psutil.Process(process_id).cpu_times()
                times = await latencies(servers.nats_url, url, prefix, rate=RATE, seconds=sizes.latency_seconds)
                after = psutil.Process(process_id).cpu_times()
            found[pages].append(times)
            spent = after.user + after.system - before.user - before.system
            cpu[pages].append(100 * spent / sizes.latency_seconds)
            return median(times)

        await interleaved({str(pages): partial(side, pages) for pages in found}, sizes.rounds)
        await drop_stream(client, prefix)
    _record(report, {pages: rounds[1:] for pages, rounds in found.items()})
    for pages, shares in cpu.items():
        report.add(f"{pages or 'no'} pages open, CPU of serve", "% of a core", shares[1:])
    return report


@asynccontextmanager
async def _opened(http_url: str, pages: int) -> AsyncIterator[None]:
    """So many pages are open for the block."""
    if not pages:
        yield
        return
    arguments = [str(urlsplit(http_url).port), str(pages), *PAGES]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", READERS, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            for _ in range(pages):
                assert await process.stdout.readline() == b"open\n"
        yield
    finally:
        process.kill()
        await process.wait()


def _record(report: Report, found: dict[int, list[list[float]]]) -> None:
    none, pages = found
    for label, percent, at_most in (("p50", 50.0, 1.1), ("p99", 99.0, 1.5)):
        values = {count: [percentile(times, percent) for times in rounds] for count, rounds in found.items()}
        for count, figures in values.items():
            report.add(f"{count or 'no'} pages open, {label}", "ms", figures)
        times = ratio(values[pages], values[none])
        report.targets.append(
            Target(f"latency {label}, {pages} open pages against none", "times", times, at_most=at_most)
        )
