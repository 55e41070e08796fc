"""The benchmarks run: small sizes, real servers. What they measure then means nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest

from benchmarks import (
    console,
    counting,
    latency,
    outages,
    replay,
    retention,
    sites,
    snapshot,
    wal,
    writer_cpu,
    writers,
)
from benchmarks.capture.sides import NOBODY, OURS, RECEIVER
from benchmarks.commands import report as commands
from benchmarks.harness.servers import Servers, running
from benchmarks.harness.sizes import QUICK
from benchmarks.reading import queries
from benchmarks.sustained import report as sustained
from tests.support.servers.scratch import scratch_root

SMALL = replace(
    QUICK,
    latency_seconds=0.3,
    writer_clients=(2,),  # pgbench runs for a second or more
    replayed=200,
    commands=40,
    growth_backlog=100,
    projects=50,
    worktrees=100,
    activities=200,
)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(scratch_root()))
        with running() as started:
            yield started


WRITERS = (writers, writer_cpu, wal, counting)


@pytest.mark.parametrize(
    "benchmark", [*WRITERS, commands, console, latency, outages, queries, replay, retention, sites, snapshot]
)
async def test_a_benchmark_measures_each_side_and_judges_each_target(servers: Servers, benchmark: ModuleType) -> None:
    report = await benchmark.run(servers, SMALL)
    assert report.targets
    assert {target.verdict for target in report.targets} <= {"met", "not met"}
    assert all(value >= 0 for series in report.series for value in series.values)
    assert all(len(series.values) >= 1 for series in report.series)


async def test_sustained_rates_are_found_and_peers_that_are_not_here_are_told(servers: Servers) -> None:
    report = await sustained.run(servers, replace(SMALL, capture_seconds=1.0, halvings=0), (NOBODY, OURS, RECEIVER))
    verdicts = {target.figure: target.verdict for target in report.targets}
    assert verdicts["lost, doubled or reordered, over kills and without"] == "met"
    told = [verdict for figure, verdict in verdicts.items() if "against" in figure]
    assert told
    assert set(told) == {"not measured: it was not asked for"}
    sides = (NOBODY.name, OURS.name, RECEIVER.name)
    assert all(series.name.startswith(sides) for series in report.series)
    for side in sides:
        assert any(series.name == f"{side}: highest steady rate, one row" for series in report.series)
    assert any(series.name == f"{OURS.name}: reordered, hot rows, three kills" for series in report.series)
