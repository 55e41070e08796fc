"""The benchmarks run: small sizes, real servers. What they measure then means nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest

from benchmarks import commands, console, latency, outages, queries, replay, snapshot, writer_cpu, writers
from benchmarks.harness.servers import Servers, running
from benchmarks.harness.sizes import QUICK

SMALL = replace(
    QUICK,
    latency_seconds=0.3,
    replayed=200,
    commands=40,
    growth_backlog=100,
    projects=50,
    worktrees=100,
    activities=200,
)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with running() as started:
        yield started


@pytest.mark.parametrize(
    "benchmark", [commands, console, latency, outages, queries, replay, snapshot, writers, writer_cpu]
)
async def test_a_benchmark_measures_each_side_and_judges_each_target(servers: Servers, benchmark: ModuleType) -> None:
    report = await benchmark.run(servers, SMALL)
    assert report.targets
    assert {target.verdict for target in report.targets} <= {"met", "not met"}
    assert all(value >= 0 for series in report.series for value in series.values)
    assert all(len(series.values) >= 1 for series in report.series)
