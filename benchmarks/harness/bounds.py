"""What bounds a target: sides that do less than ours, and whether they meet it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from benchmarks.harness.measure import Target, number

ALIKE = 1.1
"""Two figures that differ by less may be the same."""


def bounded(target: Target, less: Mapping[str, float | None], rest: str = "") -> Target:
    """`target` with what each side that does less than ours has of the same figure, and whether it meets it.

    One that does less and is behind ours bounds nothing. Where none of the others misses it, it is not out of reach:
    `rest` is what ours does besides. A side without a figure is left out.
    """
    found = {name: value for name, value in less.items() if value is not None}
    behind = [name for name, value in found.items() if _is_worse(target, value)]
    missing = [
        name
        for name, value in found.items()
        if name not in behind and replace(target, measured=value).verdict == "not met"
    ]
    others = [name for name in found if name not in behind and name not in missing]
    words = []
    if missing:
        words.append(f"{_told(missing, found)} {'misses' if len(missing) == 1 else 'miss'} it, too")
    if others:
        words.append(f"{_told(others, found)} would meet it")
    if behind:
        words.append(f"{_told(behind, found)} {'does' if len(behind) == 1 else 'do'} less, and worse")
    told = "; ".join(words)
    if found and not missing:
        told += f": what is left is ours{', ' if rest else ''}{rest}"
    return replace(target, bound=told)


def _is_worse(target: Target, value: float) -> bool:
    """Whether it is behind what was measured of ours, by more than runs differ."""
    if target.measured is None:
        return False
    return value < target.measured / ALIKE if target.at_least is not None else value > target.measured * ALIKE


def _told(names: Iterable[str], found: Mapping[str, float]) -> str:
    return ", ".join(f"`{name}` ({number(found[name])})" for name in names)
