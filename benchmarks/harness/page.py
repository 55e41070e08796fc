"""docs/performance.md out of the results: the targets in one table, every series, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.harness.measure import Report, Target, number

INTRODUCTION = """\
# Performance

Written by `./run bench` (`python -m benchmarks`) out of `{results}`; do not edit. Every figure is taken in one run with
what it is compared to: all sides of a benchmark take turns, round by round, and a ratio is the median over the rounds
of ours divided by theirs of the same round; where there is one round, each side ran once. Absolute numbers are those of
the machine below; ratios should carry over. Where a target is not met, sides that do less than ours are named: one
that is no worse than ours and misses it too bounds it, and what lies between that one and ours is ours; where there is
none, all is.
"""
QUICK = """
**This was a quick run: it shows that the benchmarks work, its figures mean nothing.**
"""
UNBOUNDED = "no side that was measured does less: what is left is ours"


def write(reports: Sequence[Report], machine: Mapping[str, str], *, results: str, plot: str | None, quick: bool) -> str:
    """The text of the page."""
    parts = [INTRODUCTION.format(results=results)]
    if quick:
        parts.append(QUICK)
    parts.append("\n## Targets\n\n| figure | target | measured | verdict |\n|---|---|---|---|\n")
    targets = [target for report in reports for target in report.targets]
    parts += [_target(target) for target in targets]
    bounds: dict[str, list[str]] = {}
    for target in targets:
        if target.verdict == "not met":
            bounds.setdefault(target.bound or UNBOUNDED, []).append(target.figure)
    if bounds:
        parts.append("\n## What bounds those that are not met\n\n")
        parts += [f"- {'; '.join(figures)}: {bound}\n" for bound, figures in bounds.items()]
    if plot:
        parts.append(f"\n## Curves\n\n![Rates and latencies by size]({plot})\n")
    for report in reports:
        parts.append(f"\n## {report.name.capitalize()}\n\n{report.about}\n\n")
        parts.append("| side | median | lowest | highest | unit | rounds |\n|---|--:|--:|--:|---|--:|\n")
        parts += [
            f"| {one.name} | {number(one.median)} | {number(min(one.values))} | {number(max(one.values))} "
            f"| {one.unit} | {len(one.values)} |\n"
            for one in report.series
        ]
        parts += [f"\n{note}\n" for note in report.notes]
        busy = (
            f" Before, the processors were {report.busy_percent:.0f} % busy." if report.busy_percent is not None else ""
        )
        parts.append(f"\nMeasured {report.measured}, in {report.seconds:,.0f} s.{busy}\n")
    parts.append("\n## Machine and versions\n\n| | |\n|---|---|\n")
    parts += [f"| {name} | {value} |\n" for name, value in machine.items()]
    return "".join(parts)


def _target(target: Target) -> str:
    limit = f"at least {target.at_least:g}" if target.at_least is not None else f"at most {target.at_most:g}"
    measured = "" if target.measured is None else f"{number(target.measured)} {target.unit}"
    return f"| {target.figure} | {limit} {target.unit}".rstrip() + f" | {measured.strip()} | {target.verdict} |\n"
