"""One SVG with a panel for each curve, and one that shows every contestant of the drain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from benchmarks.harness.measure import Curve, Report

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

COLUMNS = 2
matplotlib.rcParams.update({"svg.hashsalt": "imi", "svg.fonttype": "none", "font.size": 9})


def draw(reports: Sequence[Report], file: Path) -> bool:
    """Write the plot to `file`; False when there is nothing to draw."""
    curves = [curve for report in reports for curve in report.curves]
    drain = [report for report in reports if report.name == "drain"]
    count = len(curves) + len(drain)
    if not count:
        return False
    rows = -(-count // COLUMNS)
    figure, panels = pyplot.subplots(rows, COLUMNS, figsize=(10, 3.2 * rows), squeeze=False, layout="constrained")
    places = list(panels.flat)
    for report in drain:
        _bars(places.pop(0), report)
    for curve in curves:
        _lines(places.pop(0), curve)
    for unused in places:
        unused.remove()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    return True


def _bars(panel: Axes, report: Report) -> None:
    rates = [series for series in report.series if series.unit == "events/s"][::-1]
    panel.barh([series.name for series in rates], [series.median for series in rates])
    panel.set(title="Drain", xlabel="events/s")


def _lines(panel: Axes, curve: Curve) -> None:
    for name, points in curve.lines.items():
        panel.plot(*zip(*points, strict=True), marker="o", label=name)
    panel.set(title=curve.title, xlabel=curve.x, ylabel=curve.y, xscale="log")
    highest = max(y for points in curve.lines.values() for _, y in points)
    panel.set_ylim(0, highest * (1.1 if len(curve.lines) == 1 else 1.4))
    panel.grid(alpha=0.3)
    if len(curve.lines) > 1:
        panel.legend(fontsize=6.5, ncols=2, loc="upper center", columnspacing=1, handlelength=1.2)
