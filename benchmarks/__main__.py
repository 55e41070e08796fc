"""`python -m benchmarks`: run the benchmarks, write results, plot and docs/performance.md."""

from __future__ import annotations

import logging
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
import uvloop

from benchmarks import (
    console,
    counting,
    drain,
    gaps,
    growth,
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
from benchmarks.commands import report as commands
from benchmarks.footprint import report as footprint
from benchmarks.harness import machine, page, quiet, results
from benchmarks.harness.measure import Report, Target
from benchmarks.harness.servers import Servers, running
from benchmarks.harness.sizes import QUICK, Sizes
from benchmarks.reading import queries, search
from benchmarks.sustained import report as sustained
from docs.commit import to_be_recorded

DOCS = Path(__file__).parent.parent / "docs"
MOST_BUSY_PERCENT = 10.0
"""Of all processors, by other programs before anything is measured."""
RESULTS, PLOT = "performance.json", "performance.svg"
BENCHMARKS: dict[str, Callable[[Servers, Sizes], Awaitable[Report]]] = {
    "drain": drain.run,
    "latency": latency.run,
    "console": console.run,
    "writers": writers.run,
    "writer-cpu": writer_cpu.run,
    "counting": counting.run,
    "wal": wal.run,
    "commands": commands.run,
    "replay": replay.run,
    "snapshot": snapshot.run,
    "growth": growth.run,
    "retention": retention.run,
    "gaps": gaps.run,
    "queries": queries.run,
    "search": search.run,
    "sites": sites.run,
    "footprint": footprint.run,
    "outages": outages.run,
    "sustained": sustained.run,
}


def main(
    only: Annotated[str, typer.Option(help=f"Some of {','.join(BENCHMARKS)}, separated by commas.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes: shows that all works, measures nothing.")
    ] = False,
    busy: Annotated[
        bool, typer.Option("--busy", help="Measure although other programs keep the machine busy.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for performance.md, .json and .svg.")] = DOCS,
) -> None:
    """Measure the registry against its limits and its peers, and write docs/performance.md.

    While other programs keep the processors busy it waits, for five minutes at most, and then measures nothing, unless
    it is --busy. The page tells how busy they were before each section.

    With --only, earlier results of the other benchmarks stay, if they are of the same machine and versions. What other
    pages have of the figures is written there, too, by docs/figures.py. Into docs/ nothing is written of a checkout
    with changes.

    Example: python -m benchmarks --only drain,latency --out /tmp
    """
    chosen = only.split(",") if only else list(BENCHMARKS)
    for name in chosen:
        if name not in BENCHMARKS:
            raise typer.BadParameter(f'"{name}" is none of {", ".join(BENCHMARKS)}', param_hint="--only")
    if not out.is_dir():
        raise typer.BadParameter(f'"{out}" is no folder', param_hint="--out")
    is_recorded = out.samefile(DOCS) and not quick
    if is_recorded:
        to_be_recorded()
    logging.basicConfig(level=logging.ERROR)
    sizes = QUICK if quick else Sizes()
    busy_percent = quiet.look() if busy or quick else quiet.until_quiet(MOST_BUSY_PERCENT)
    if busy_percent > MOST_BUSY_PERCENT and not (busy or quick):
        print(f"other programs keep the processors {busy_percent:.0f} % busy, above {MOST_BUSY_PERCENT:.0f}: end them")
        sys.exit(1)
    with running() as servers:
        described = uvloop.run(machine.describe(servers)) | {"processors busy before": f"{busy_percent:.0f} %"}
        reports = results.read(out / RESULTS, described) if only and not quick else {}
        for name in chosen:
            print(f"{name} …", flush=True)
            busy_percent = quiet.look()
            reports[name] = uvloop.run(_measure(servers, name, sizes))
            reports[name].measured = f"{described['date']}, commit {described['commit']}, {described['system']}"
            reports[name].busy_percent = busy_percent
            described["measured in"] = f"{sum(report.seconds for report in reports.values()):,.0f} s"
            print(f"{name}: {reports[name].seconds:.0f} s, all {described['measured in']}", flush=True)
            _save(reports, described, out, quick=quick)  # each time: a run of an hour may be ended
    for name in chosen:
        for target in reports[name].targets:
            print(f"{target.verdict:8} {target.figure}: {target.measured}")
    if is_recorded:
        sys.exit(subprocess.run([sys.executable, DOCS / "figures.py"], check=False).returncode)


async def _measure(servers: Servers, name: str, sizes: Sizes) -> Report:
    start = monotonic()
    try:
        report = await BENCHMARKS[name](servers, sizes)
    except Exception as error:  # whatever it is, the others are measured all the same: a run takes hours
        traceback.print_exc()
        report = Report(name, "It could not be measured.", notes=[f"It ended with {error!r}."])
        report.targets.append(Target(name, "", None, at_least=0, reason=repr(error)))
    report.seconds = monotonic() - start
    return report


def _save(reports: dict[str, Report], described: dict[str, str], out: Path, *, quick: bool) -> None:
    from benchmarks.harness.plot import draw  # matplotlib takes a second to load

    ordered = [reports[name] for name in BENCHMARKS if name in reports]
    results.write(out / RESULTS, ordered, described)
    is_drawn = draw(ordered, out / PLOT)
    text = page.write(ordered, described, results=RESULTS, plot=PLOT if is_drawn else None, quick=quick)
    (out / "performance.md").write_text(text)


if __name__ == "__main__":
    typer.run(main)
