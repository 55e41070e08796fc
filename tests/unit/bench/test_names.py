"""What pages say of the benchmarks' results has the names under which the benchmarks of today write them.

Made-up measurements go through the code that tells the real ones, and docs/measured.py reads what came of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import counting, drain, gaps, growth, latency, outages, sites, snapshot, writer_cpu, writers
from benchmarks.__main__ import BENCHMARKS
from benchmarks.capture.judge import Verdict
from benchmarks.capture.probe import Cpu, Probe
from benchmarks.capture.search import Highest
from benchmarks.capture.sides import SIDES, Side
from benchmarks.commands import report as commands
from benchmarks.footprint import idle
from benchmarks.footprint.commands import READS
from benchmarks.harness.measure import Report
from benchmarks.harness.peers import PEERS
from benchmarks.harness.sizes import QUICK, Sizes
from benchmarks.reading import queries
from benchmarks.sustained.found import BULK, HOT, HOT_KILLED, ONE_ROW, Found
from benchmarks.sustained.record import record as record_sustained
from docs.measured import SAID, Results, figures

ROOT = Path(__file__).parents[3]
SIZES = Sizes()
ROUNDS = [1000.0, 1000.0, 1000.0]


READING = {
    *("status", "probe", "doctor", "actions", "phantoms", "capacity", "inflight", "search", "stats", "path", "health"),
    *("slow-queries", "show", "list", "replay", "snapshot", "export", "verify", "audit", "derived-ids"),
}
"""Last words of the commands that read."""
SHOW_WHAT_IS_NOT_HERE = {
    *("mirror status", "replica status", "agreement status"),
    *("events dead-letters show", "commands dead-letters show"),
}


def of_each(names: Iterable[str]) -> dict[str, list[float]]:
    return dict.fromkeys(names, ROUNDS)


class Clients:
    """Connections of `writer_cpu` that measure nothing."""

    async def microseconds(self, _statement: str, _transactions: int) -> float:
        return 1.0

    async def microseconds_a_row(self, _statement: str) -> float:
        return 1.0

    async def wal_bytes(self, _statement: str, _transactions: int) -> float:
        return 1.0


def of_side(side: Side) -> Found:
    verdict = Verdict(10, 0, 0, 0, [1.0]) if side.row is not None else None
    probe = Probe(True, verdict, Cpu(1.0, 1.0, 1.0, 1.0, 1.0), 900.0, 1000.0)
    found = Found(even=[probe], update_seconds=[1.0])
    found.highest = {load: [Highest(probe, ())] for load in (ONE_ROW, BULK)}
    found.killed = dict.fromkeys((ONE_ROW, BULK), probe)
    found.hot = dict.fromkeys((HOT, HOT_KILLED), probe)
    return found


async def made_up() -> list[Report]:
    """Each section that pages read, as a full run would name its series."""
    found = {name: Report(name, "") for name in BENCHMARKS}
    measured = (drain.SERVE, drain.NATS_PY, drain.AS_THE_RELAY, drain.READ, drain.COPIED, drain.LEAST, drain.NOTED)
    spent = {name: [drain.Spent(1.0, 1.0)] for name in measured}
    drain.record(found["drain"], of_each([*measured, *PEERS]), spent)
    for rate in SIZES.latency_rates:
        sides = (latency.OURS, latency.LEAST, latency.DIRECT)
        latency.record(found["latency"], rate, {side: [ROUNDS] for side in sides})
    values = of_each([*writers.OTHER_TRIGGERS, writers.EVENTS, writers.NOTIFY])
    for clients in SIZES.writer_clients:
        writers.record(found["writers"], clients, values)
    writers.judge(found["writers"], SIZES.writer_clients[-1], values)
    for kind in writers.BULK:
        writers.record_bulk(found["writers"], kind, SIZES.bulk_rows, values)
    await writer_cpu.measure(dict.fromkeys(writer_cpu.OF_AN_UPDATE, Clients()), SIZES, found["writer-cpu"])
    forms = (counting.NONE, counting.AGAIN, counting.NOTHING, counting.INSIDE, counting.LEAST, counting.AS_IT_IS)
    for write in counting.WRITES:
        counting.record(found["counting"], write, of_each(forms))
    ways = of_each([commands.COMMAND, *commands.SIDES, commands.FUNCTION])
    for clients in SIZES.command_clients:
        commands.record(found["commands"], clients, ways, ways, ways)
    rates = of_each([snapshot.SNAPSHOT, snapshot.MEMORY, snapshot.MODELS, snapshot.PARSED, snapshot.COPY])
    for worktrees in SIZES.snapshot_worktrees:
        snapshot.record(found["snapshot"], worktrees, rates)
    snapshot.judge(found["snapshot"], rates)
    by_gaps = of_each(map(str, (0, *SIZES.gaps)))
    gaps.record(found["gaps"], by_gaps, by_gaps)
    by_projects = of_each(map(str, SIZES.growth_projects))
    growth.record(found["growth"], "projects", "drain, events/s", by_projects)
    asked = queries.asked(QUICK)
    for name in [*asked, queries.BY_BRIN]:
        queries.record(found["queries"], name, of_each({name, queries.FLOORS.get(name, name)}))
    queries.judge(found["queries"], dict.fromkeys([*asked, queries.BY_BRIN], 1.0))
    sites.record(found["sites"], of_each([sites.MIRROR, sites.REPLICA]), {sites.MIRROR: 1.0, sites.REPLICA: 1.0})
    idle.record_idle(
        found["footprint"],
        of_each([idle.IDLE_CPU, idle.LEAST_CPU]),
        dict.fromkeys((idle.IDLE_MEMORY, idle.LEAST_MEMORY, idle.MODULES_MEMORY), 1.0),
    )
    idle.record_event(found["footprint"], 1000.0, 1000.0)
    outages.record(found["outages"], outages.Away(*[1000.0] * 6, 0))
    record_sustained(found["sustained"], {side: of_side(side) for side in SIDES}, {})
    return list(found.values())


@pytest.fixture
async def results() -> Results:
    reports = [asdict(report) for report in await made_up()]
    return Results({"machine": {"CPUs": "2"}, "reports": reports}, Results.read().reliability)


async def test_each_figure_of_a_page_is_found_in_what_the_benchmarks_write(results: Results) -> None:
    told = figures(results)
    assert "not measured" not in told["faults of sides"]
    assert told["cpu, Debezium"] == "1"


async def test_what_pages_say_without_a_figure_is_decided_by_what_the_benchmarks_write(results: Results) -> None:
    assert {type(is_so(results)) for _, _, is_so in SAID} == {bool}


async def test_a_name_that_no_benchmark_writes_is_noticed(results: Results) -> None:
    with pytest.raises(LookupError, match=r'^docs/performance.json: drain has no "outbox" among its series$'):
        results.series("drain", "outbox")


def test_the_sections_that_pages_link_to_are_benchmarks() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    linked = {section for page in pages for section in re.findall(r"performance\.md#([\w-]+)", page.read_text())}
    assert len(linked) > 5
    assert linked - BENCHMARKS.keys() == {"what-bounds-those-that-are-not-met"}


def test_every_command_that_reads_is_timed() -> None:
    page = (ROOT / "docs" / "cli-reference.md").read_text()
    commands_of_page = re.findall(r"^## ([a-z-]+(?: [a-z-]+)*)$", page, re.MULTILINE)
    reading = {command for command in commands_of_page if command.split()[-1] in READING} - SHOW_WHAT_IS_NOT_HERE
    timed = {read for read in READS if read in reading or any(read.startswith(f"{command} ") for command in reading)}
    assert timed == set(READS)
    assert [
        one for one in sorted(reading) if not any(read == one or read.startswith(f"{one} ") for read in READS)
    ] == []
