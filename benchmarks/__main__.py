"""`python -m benchmarks`: run the benchmarks, write results, plot and docs/performance.md."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Annotated

import orjson
import psycopg
import typer
import uvloop

from benchmarks import commands, drain, footprint, growth, latency, machine, page, queries, replay, snapshot, writers
from benchmarks.measure import Report, Target
from benchmarks.servers import Servers, running
from benchmarks.sizes import QUICK, Sizes
from registry.errors import RegistryError

DOCS = Path(__file__).parent.parent / "docs"
BENCHMARKS: dict[str, Callable[[Servers, Sizes], Awaitable[Report]]] = {
    "drain": drain.run,
    "latency": latency.run,
    "writers": writers.run,
    "commands": commands.run,
    "replay": replay.run,
    "snapshot": snapshot.run,
    "growth": growth.run,
    "queries": queries.run,
    "footprint": footprint.run,
}


def main(
    only: Annotated[str, typer.Option(help=f"Some of {','.join(BENCHMARKS)}, separated by commas.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes: shows that all works, measures nothing.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for performance.md, .json and .svg.")] = DOCS,
) -> None:
    """Measure the registry against its limits and its peers, and write docs/performance.md.

    Example: python -m benchmarks --only drain,latency --out /tmp
    """
    chosen = only.split(",") if only else list(BENCHMARKS)
    for name in chosen:
        if name not in BENCHMARKS:
            raise typer.BadParameter(f'"{name}" is none of {", ".join(BENCHMARKS)}', param_hint="--only")
    if not out.is_dir():
        raise typer.BadParameter(f'"{out}" is no folder', param_hint="--out")
    logging.basicConfig(level=logging.ERROR)
    sizes = QUICK if quick else Sizes()
    reports: list[Report] = []
    with running() as servers:
        described = uvloop.run(machine.describe(servers))
        for name in chosen:
            print(f"{name} …", flush=True)
            reports.append(uvloop.run(_measure(servers, name, sizes)))
            print(f"{name}: {reports[-1].seconds:.0f} s", flush=True)
            _save(reports, described, out, quick=quick)  # each time: a run of an hour may be ended
    for report in reports:
        for target in report.targets:
            print(f"{target.verdict:8} {target.figure}: {target.measured}")


async def _measure(servers: Servers, name: str, sizes: Sizes) -> Report:
    start = monotonic()
    try:
        report = await BENCHMARKS[name](servers, sizes)
    except (RegistryError, psycopg.Error, RuntimeError, AssertionError, TimeoutError, ExceptionGroup) as error:
        report = Report(name, "It could not be measured.", notes=[f"It ended with {error!r}."])
        report.targets.append(Target(name, "", None, at_least=0, reason=repr(error)))
    report.seconds = monotonic() - start
    return report


def _save(reports: list[Report], described: dict[str, str], out: Path, *, quick: bool) -> None:
    from benchmarks.plot import draw  # matplotlib takes a second to load

    results, plot = out / "performance.json", out / "performance.svg"
    content = {"machine": described, "reports": [asdict(report) for report in reports]}
    results.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    is_drawn = draw(reports, plot)
    text = page.write(reports, described, results=results.name, plot=plot.name if is_drawn else None, quick=quick)
    (out / "performance.md").write_text(text)


if __name__ == "__main__":
    typer.run(main)
