"""Replay: the whole history through the client, against a bare fetch loop over the same stream."""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig

from benchmarks.harness import backlog
from benchmarks.harness.measure import Report, Target, interleaved, ratio
from benchmarks.harness.servers import Servers, drop_stream, fill_seconds, new_prefix
from benchmarks.harness.sizes import Sizes
from registry.broker.connection import connect_nats
from registry.client import RegistryClient
from registry.subjects import Names

FETCH = 500
REPLAY, BARE = "RegistryClient.replay", "bare fetch loop"
ALONE = """
import asyncio, re, sys
from pathlib import Path
from registry.client import RegistryClient

async def main(nats_url, prefix):
    count = 0
    async with RegistryClient.connect(nats_url, prefix=prefix) as client, client.replay() as events:
        async for _ in events:
            count += 1
    print(count, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

asyncio.run(main(*sys.argv[1:]))
"""
"""A component that replays and does nothing else. Its peak is VmHWM, in KiB: ru_maxrss begins with its parent's."""


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Events a second, read from the first to the last."""
    report = Report(
        "replay",
        f"{sizes.replayed:,} events are read from the start of the stream. Baseline: nats-py's pull consumer without "
        f"acknowledgements, {FETCH} messages a fetch, which neither checks order and gaps nor survives a restart.",
    )
    prefix = new_prefix()
    with servers.database() as url:
        total = await asyncio.to_thread(backlog.fill, url, sizes.replayed)
        async with servers.service(url, prefix), connect_nats(servers.nats_url, "bench") as client:
            await fill_seconds(client, prefix, total)
            async with RegistryClient.connect(servers.nats_url, prefix=prefix) as registry:
                values = await interleaved(
                    {REPLAY: lambda: replayed(registry, total), BARE: lambda: fetched(client, prefix, total)},
                    sizes.replay_rounds,
                )
            peak = await peak_mebibytes(servers.nats_url, prefix, total)
            await drop_stream(client, prefix)
    for name, rates in values.items():
        report.add(name, "events/s", rates)
    report.add(f"a process that replays {total:,} events: peak memory", "MiB", [peak])
    report.targets.append(
        Target("replay, against a bare fetch loop", "times", ratio(values[REPLAY], values[BARE]), at_least=0.8)
    )
    return report


async def replayed(client: RegistryClient, total: int) -> float:
    """Events a second of a replay from the start, which must give all `total`."""
    start, count = perf_counter(), 0
    async with client.replay() as events:
        async for _ in events:
            count += 1
    assert count == total
    return total / (perf_counter() - start)


async def peak_mebibytes(nats_url: str, prefix: str, total: int) -> float:
    """The largest resident set of a process of its own that replays all `total` events."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ALONE, nats_url, prefix), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    count, kibibytes = map(int, told.split())
    assert count == total
    return kibibytes / 1024


async def fetched(client: Client, prefix: str, total: int) -> float:
    """Events a second of fetch after fetch."""
    names = Names(prefix)
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True)
    start, count = perf_counter(), 0
    consumer = await client.jetstream().pull_subscribe(names.event_subjects, stream=names.event_stream, config=config)
    while count < total:
        count += len(await consumer.fetch(min(FETCH, total - count)))
    seconds = perf_counter() - start
    await consumer.unsubscribe()
    return total / seconds
