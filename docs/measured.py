"""What pages say of what was measured: each figure with its place in the results, and how it is rounded.

`docs/figures.py` has the words around each, and writes them into the pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

DOCS = Path(__file__).resolve().parent
CORES = 2
"""Of the machine, for everything."""
DAY_SECONDS = 86_400
RECORD_BYTES = 132
"""Of the record of an event's place in the stream, where each event is a batch of its own."""
SHARDS = 143
"""Of a million events a second, by what a replicated stream is assumed to take."""
USED = 0.7
"""Share of a publisher's rate that is in use."""

ONE_ROW, BULK = "highest steady rate, one row, against", "highest steady rate, bulk, against"
DEBEZIUM, MQ_BRIDGE = "Debezium embedded, nats-py", "mq-bridge postgres_cdc"
IN_ORDER = f"{MQ_BRIDGE}, batches of 1"
SNAPSHOT = "100,000 worktrees"
COUNTS = "{}, CPU, with counts against without"
SERVE, BARE = "imi-registry serve", "no capture"
EVEN_CPU = "{}, one row at the even rate: CPU of {}"
HIGHEST_CPU = "{}, one row at that rate: CPU of {}"
FAULTS = ("lost", "doubled", "reordered")
KINDS = ("random rows", "random rows, a kill", "hot rows", "hot rows, three kills")
SIDES = {
    SERVE: "imi-registry",
    DEBEZIUM: "Debezium's embedded engine",
    IN_ORDER: "mq-bridge `postgres_cdc`, batches of 1",
    MQ_BRIDGE: "mq-bridge `postgres_cdc`, as it comes",
}
"""Of the sustained rates, and what docs/comparison.md calls them."""


class Results(NamedTuple):
    """docs/performance.json and docs/reliability.json."""

    performance: dict[str, Any]
    reliability: dict[str, Any]

    @classmethod
    def read(cls) -> Results:
        """As they are now."""
        return cls(*(json.loads((DOCS / f"{name}.json").read_bytes()) for name in cls._fields))

    def series(self, report: str, name: str) -> float:
        """The median of a series."""
        return median(self._values(report, name))

    def ratio(self, report: str, ours: str, theirs: str) -> float:
        """The median over the rounds that both have of one series divided by another."""
        pairs = zip(self._values(report, ours), self._values(report, theirs), strict=False)
        return median(mine / their for mine, their in pairs)

    def target(self, report: str, figure: str) -> float:
        """What was measured of a target."""
        found = self._one(report, "targets", "figure", figure)["measured"]
        if found is None:
            raise LookupError(f'docs/performance.json: "{figure}" of {report} was not measured')
        return float(found)

    def faults(self, side: str, kind: str) -> list[float]:
        """Rows that a side lost, doubled and reordered in all runs of a kind; nothing when there was none."""
        series = {one["name"]: one["values"] for one in self._report("sustained")["series"]}
        names = [f"{side}: {fault}, {kind}" for fault in FAULTS]
        return [sum(series[name]) for name in names] if names[0] in series else []

    def total(self, name: str) -> int:
        """Of all runs of the fault suite."""
        return sum(run[name] for run in self.reliability["runs"])

    def broken(self) -> int:
        """Promises that any of these broke."""
        return sum(sum(run["broken"].values()) for run in self.reliability["runs"])

    def _values(self, report: str, name: str) -> list[float]:
        return list(self._one(report, "series", "name", name)["values"])

    def _one(self, report: str, kind: str, key: str, wanted: str) -> dict[str, Any]:
        for found in self._report(report)[kind]:
            if found[key] == wanted:
                return dict(found)
        raise LookupError(f'docs/performance.json: {report} has no "{wanted}" among its {kind}')

    def _report(self, name: str) -> dict[str, Any]:
        for found in self.performance["reports"]:
            if found["name"] == name:
                return dict(found)
        raise LookupError(f'docs/performance.json has no report "{name}"')


def figures(of: Results) -> dict[str, str]:
    """Each figure as it stands in the pages. Raises `LookupError` for one that was not measured."""
    drain, bare = of.series("drain", "imi-registry serve"), of.series("drain", "bare atomic batches, as the relay")
    writes, bulk = of.series("writers", "with events, 16 clients"), _bulk(of)
    stream = of.series("footprint", "an event in the stream")
    outbox = of.series("footprint", "an event in the outbox, with its index")
    wal = _difference(of, "writer-cpu", "with events", "no triggers", "UPDATE of one row: WAL")
    commands, waiting = _commands(of), of.series("outages", "PostgreSQL away: a command that waits")
    return {
        "drain": _whole(drain),
        "drain, thousands": f"{drain / 1000:.0f},000",
        "drain, µs": _whole(1e6 * CORES / drain),
        "drain, python": _two(of.target("drain", "drain, against the fastest pure-Python peer")),
        "drain, mq-bridge": _whole(of.series("drain", "mq-bridge")),
        "drain, nats-outbox": _whole(of.series("drain", "nats-outbox")),
        "drain, faststream-outbox": _whole(of.series("drain", "faststream-outbox")),
        "bare": _whole(bare),
        "latency": f"{of.series('latency', 'imi-registry serve, 100/s, p50'):.2f}",
        "latency, bare": f"{of.series('latency', 'commit, then publish, 100/s, p50'):.2f}",
        "latency, ratio": _two(of.target("latency", "latency p50 at 100/s, against commit then publish")),
        **{
            f"{kind}, {peer}": _two(of.target("sustained", f"{figure} {name}"))
            for kind, figure in (("one row", ONE_ROW), ("bulk", BULK))
            for peer, name in (("Debezium", DEBEZIUM), ("in order", IN_ORDER), ("mq-bridge", MQ_BRIDGE))
        },
        "cpu, Debezium": _two(_cpu(of, SERVE, DEBEZIUM)),
        "cpu, in order": _two(_cpu(of, SERVE, IN_ORDER)),
        "cpu, mq-bridge": _two(_cpu(of, SERVE, MQ_BRIDGE)),
        "postgres, outbox": _two(_cpu(of, SERVE, BARE, "PostgreSQL")),
        "postgres, in order": _two(_cpu(of, IN_ORDER, BARE, "PostgreSQL")),
        "writers": _two(of.target("writers", "writes, 64 clients, against no triggers")),
        "writes": _whole(writes),
        "even, µs": _whole(of.series("sustained", EVEN_CPU.format(SERVE, "all"))),
        "highest, µs": _whole(of.series("sustained", HIGHEST_CPU.format(SERVE, "all"))),
        "drain, projects": _whole(100 - 100 * of.target("growth", "drain, 100,000 projects against 100")),
        "bulk": _whole(bulk),
        "bulk, µs": _whole(of.series("writer-cpu", "with events, UPDATE of 10,000 rows")),
        "counts, update": f"{of.target('counting', COUNTS.format('update_worktree_git_state')):.2f}",
        "counts, log": f"{of.target('counting', COUNTS.format('log_activity')):.2f}",
        "stream": _whole(stream),
        "outbox": _whole(outbox),
        "outbox, recorded": _whole(round(outbox) + RECORD_BYTES),
        "wal": _whole(of.series("outages", "WAL of a write, its event, and the cursor")),
        "wal, event": _whole(wal),
        "wal, MB/s": _whole(100_000 * wal / 1e6),
        "changes": _whole(of.total("entries")),
        "faults": _whole(of.total("faults")),
        "commands": _whole(commands),
        "commands, one kind": f"{5_000 / commands:.1f}",
        "commands, all kinds": _whole(65_000 / commands),
        "commands, 100,000": _whole(100_000 / commands),
        "command": _whole(waiting),
        "command, MB": _whole(100_000 * waiting / 1e6),
        "back, commands": _whole(of.series("outages", "PostgreSQL back: commands")),
        "back, events": _whole(of.series("outages", "NATS back: catching up")),
        "away, memory": _whole(of.series("outages", "NATS away: memory of serve")),
        "away, 2": _whole(2 * DAY_SECONDS / (drain - 2)),
        "away, 20": _whole(20 * DAY_SECONDS / (drain - 20)),
        "away, 200": f"{200 * DAY_SECONDS / (drain - 200) / 60:.1f}",
        "cores, one stream": _whole(CORES * drain / writes),
        "shards": str(ceil(1e6 / (USED * drain))),
        "cores, small": _whole(CORES * 1e6 / writes),
        "cores, bulk": _whole(1e6 / bulk),
        "servers": str(ceil(CORES * 1e6 / writes / 32)),
        "kept, streams": f"{3e9 * stream / 1e12:.1f}",
        "kept, outboxes": f"{2e9 * outbox / 1e12:.1f}",
        "kept, stream": _whole(3e9 * stream / SHARDS / 1e9),
        "kept, outbox": f"{2e9 * outbox / SHARDS / 1e9:.1f}",
        "rebuilt": _whole(1e9 / SHARDS / drain / 60),
        "held": _whole(50e9 / (1e6 / SHARDS * stream) / 60),
        **_gaps(of),
        **_sites(of),
        "stats": _two(of.series("queries", "get_registry_stats: p99")),
        "summary": _whole(of.series("queries", "v_projects_summary (all): p99")),
        "inflight": _two(of.series("queries", "get_inflight_work (all): p99")),
        "faults of sides": table_of_faults(of),
    }


SAID: list[tuple[str, str, Callable[[Results], bool]]] = [
    ("README.md", "two cores for everything", lambda of: of.performance["machine"]["CPUs"] == str(CORES)),
    ("README.md", "| **0** | of", lambda of: of.broken() == 0),
    ("README.md", "a few milliseconds after its commit", lambda of: _p50(of) < 10),
    ("docs/index.md", "a few milliseconds after its commit", lambda of: _p50(of) < 10),
    (
        "docs/comparison.md",
        "this publisher lost, doubled and reordered none",
        lambda of: not any(sum(of.faults(SERVE, kind)) for kind in KINDS),
    ),
    (
        "docs/comparison.md",
        "mq-bridge with batches of 1 takes more single rows",
        lambda of: of.target("sustained", f"{ONE_ROW} {IN_ORDER}") < 1,
    ),
    (
        "docs/scaling.md",
        "the **database is the limit first**",
        lambda of: of.series("drain", "imi-registry serve") > of.series("writers", "with events, 16 clients"),
    ),
    (
        "docs/adr/0006-history.md",
        "it is no slower than one that is not",
        lambda of: of.ratio("snapshot", f"COPY, parsed, {SNAPSHOT}", f"COPY, not parsed, {SNAPSHOT}") > 0.95,
    ),
    ("docs/deploy.md", "a hundredth of a core", lambda of: of.series("footprint", "serve, idle: CPU") <= 1),
]
"""Page, words in it that have no figure, and what must be so while they stand there."""


def _p50(of: Results) -> float:
    return of.series("latency", "imi-registry serve, 100/s, p50")


def _bulk(of: Results) -> float:
    return of.series("writers", "with events, UPDATE of 10,000 rows")


def _commands(of: Results) -> float:
    return of.series("commands", "RegistryClient, 64 under way")


def _difference(of: Results, report: str, ours: str, theirs: str, what: str) -> float:
    return of.series(report, f"{ours}, {what}") - of.series(report, f"{theirs}, {what}")


def _cpu(of: Results, ours: str, theirs: str, part: str = "all") -> float:
    """What an event takes of a part at the even rate, against another side."""
    return of.ratio("sustained", *(EVEN_CPU.format(side, part) for side in (ours, theirs)))


def table_of_faults(of: Results) -> str:
    """A table: lost, doubled and out of order, of each side in the runs of each kind."""
    rows = [["", *KINDS], ["---", *("---" for _ in KINDS)]]
    for side, called in SIDES.items():
        told = [", ".join(map(_whole, of.faults(side, kind))) or "not measured" for kind in KINDS]
        rows.append([called, *told])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _gaps(of: Results) -> dict[str, str]:
    p50, wal = "commit to delivery, p50, {} gaps", "WAL of storing the cursor, {} gaps"
    found = {}
    for gaps in ("0", "10", "1,000", "100,000"):
        found[f"gaps {gaps}, p50"] = f"{of.ratio('gaps', p50.format(gaps), p50.format(0)):.2f}"
        found[f"gaps {gaps}, wal"] = _whole(of.series("gaps", wal.format(gaps)))
    return found


def _sites(of: Results) -> dict[str, str]:
    found = {}
    for copy in ("mirror", "replica"):
        for percent in ("p50", "p99"):
            lag = of.series("sites", f"{copy}: from COMMIT until it is there, {percent}")
            found[f"{copy}, {percent}"] = f"{lag:.1f}"
        found[f"{copy}, rows"] = _whole(of.series("sites", f"{copy}: rows of a backlog"))
    return found


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _two(value: float) -> str:
    """Two significant digits, or all of them before the point."""
    return f"{value:.2g}" if value < 99.5 else _whole(value)
