"""Footprint: `serve` at rest and at work, commands, `up` and the client while they start."""

from __future__ import annotations

from benchmarks.footprint import commands, idle, up
from benchmarks.harness.measure import Report
from benchmarks.harness.servers import Servers
from benchmarks.harness.sizes import Sizes


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Memory of `serve` idle and with a backlog, its CPU when idle, start-up times."""
    report = Report(
        "footprint",
        "Memory is the resident set of the `imi-registry serve` process, CPU what the kernel "
        f"counts in {sizes.idle_rounds} times {sizes.idle_seconds:g} s without a change, beside the least that could "
        "do so at the same time, and a wake-up a voluntary context switch of it. Starts are timed "
        "from outside, modules compiled, beside an empty Python, in turn; every command that reads is asked about "
        "a small registry whose `serve` runs.",
    )
    await idle.measure(servers, sizes, report)
    await commands.measure(servers, sizes, report)
    await up.measure(sizes, report)
    return report
