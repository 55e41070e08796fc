"""What is told of the sustained rates: the series of each side, and the targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.capture.probe import Cpu
from benchmarks.capture.sides import Side
from benchmarks.harness.measure import Report
from benchmarks.sustained.found import KINDS, ONE_ROW, Found
from benchmarks.sustained.targets import targets

WHOLE = "CPU of all"
FAULTS = ("lost", "doubled", "reordered")


def record(report: Report, found: Mapping[Side, Found], missing: Mapping[Side, str]) -> None:
    """Add the series of each side, and the targets."""
    for side, one in found.items():
        _add_highest(report, side, one)
        _add_even(report, side, one)
        _add_faults(report, side.name, one)
    report.targets += targets(found, missing)


def _add_highest(report: Report, side: Side, found: Found) -> None:
    name = side.name
    for load, rounds in found.highest.items():
        if rounds:
            report.add(f"{name}: highest steady rate, {load}", "rows/s", found.rates(load))
            tried = "; ".join(
                f"round {number}: {', '.join(map(str, one.tried))}" for number, one in enumerate(rounds, 1)
            )
            report.notes.append(f"{name}, {load}, rows/s tried: {tried}.")
        held = [one.probe for one in rounds if one.probe is not None]
        if not held:
            continue
        if side.row is not None:
            report.add(f"{name}: p99 at that rate, {load}", "ms", [one.milliseconds(99) for one in held])
        parts = _parts(side) if load == ONE_ROW else {WHOLE: _parts(side)[WHOLE]}
        _add_cpu(report, f"{name}, {load} at that rate", [one.cpu for one in held], parts)


def _add_even(report: Report, side: Side, found: Found) -> None:
    name = side.name
    if found.even:
        _add_cpu(report, f"{name}, one row at the even rate", [one.cpu for one in found.even], _parts(side))
        report.add(f"{name}: WAL of a write", "bytes", [one.wal_bytes for one in found.even])
        if side.row is not None:
            for percent in (50, 99):
                values = [one.milliseconds(percent) for one in found.even]
                report.add(f"{name}: p{percent} at the even rate", "ms", values)
    if found.update_seconds:
        report.add(f"{name}: UPDATE of all rows, start to last event", "s", found.update_seconds)


def _add_faults(report: Report, name: str, found: Found) -> None:
    for kind in KINDS:
        verdicts = [run.verdict for run in found.runs if run.kind == kind]
        for fault in FAULTS if verdicts else ():
            report.add(f"{name}: {fault}, {kind}", "rows", [getattr(verdict, fault) for verdict in verdicts])
    if found.runs:
        report.notes.append(f"{name}, lost, doubled, reordered: {'; '.join(_judged(found))}.")


def _parts(side: Side) -> dict[str, Callable[[Cpu], float]]:
    """What is told of its CPU time: all of it, and what it consists of; of the publisher where there is one."""
    parts: dict[str, Callable[[Cpu], float]] = {
        WHOLE: lambda cpu: cpu.whole,
        "CPU of PostgreSQL": lambda cpu: cpu.postgresql,
        "CPU of PostgreSQL's sessions of writers": lambda cpu: cpu.writing,
    }
    if side.start is not None:
        parts["CPU of PostgreSQL's sessions of the publisher"] = lambda cpu: cpu.publishing
        parts["CPU of the publisher"] = lambda cpu: cpu.publisher
        parts["CPU of nats-server"] = lambda cpu: cpu.nats_server
    return parts


def _add_cpu(report: Report, name: str, found: Sequence[Cpu], parts: Mapping[str, Callable[[Cpu], float]]) -> None:
    for part, seconds in parts.items():
        report.add(f"{name}: {part}", "s a million", [seconds(cpu) for cpu in found])


def _judged(found: Found) -> Iterator[str]:
    for _, name, verdict in found.runs:
        yield f"{name} {verdict.lost}, {verdict.doubled}, {verdict.reordered} of {verdict.written:,}"
