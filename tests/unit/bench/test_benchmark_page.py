"""What the benchmarks make of their figures: ratios, verdicts, the page."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from benchmarks.harness import page, results
from benchmarks.harness.bounds import bounded
from benchmarks.harness.measure import Curve, Report, Target, interleaved, percentile, ratio

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (Target("f", "times", 0.8, at_least=0.8), "met"),
        (Target("f", "times", 0.79, at_least=0.8), "not met"),
        (Target("f", "ms", 10.0, at_most=10), "met"),
        (Target("f", "ms", 10.1, at_most=10), "not met"),
        (Target("f", "ms", None, at_most=10, reason="no server"), "not measured: no server"),
    ],
)
def test_a_verdict_is_what_was_measured_against_its_limit(target: Target, verdict: str) -> None:
    assert target.verdict == verdict


def test_a_ratio_compares_what_was_measured_in_the_same_round() -> None:
    assert ratio([1, 20, 300], [2, 40, 100]) == 0.5


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert [percentile([3.0, 1.0, 2.0], percent) for percent in (0, 50, 99, 100)] == [1.0, 2.0, 3.0, 3.0]


async def test_contestants_take_turns_in_changing_order_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    async def contestant(name: str) -> float:
        calls.append(name)
        return len(calls)

    values = await interleaved({"a": lambda: contestant("a"), "b": lambda: contestant("b")}, rounds=2)
    assert calls == ["b", "a", "a", "b", "b", "a"]
    assert values == {"a": [3, 6], "b": [4, 5]}


def test_a_figure_below_zero_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"^calls: CPU: -0\.83 ms was measured; a figure is 0 or more$"):
        Report("commands", "Calls.").add("calls: CPU", "ms", [0.9, -0.83])


def test_the_page_tells_each_target_and_each_series_with_its_spread() -> None:
    report = Report("drain", "A backlog.", notes=["A note."], measured="today", seconds=5.0, busy_percent=3.2)
    report.add("ours", "events/s", [1000.0, 3000.0, 2000.0])
    report.targets.append(Target("drain, against bare", "times", 0.5, at_least=0.75))
    text = page.write([report], {"CPUs": "2"}, results="r.json", plot=None, quick=True)
    assert "| drain, against bare | at least 0.75 times | 0.5 times | not met |" in text
    assert "| ours | 2,000 | 1,000 | 3,000 | events/s | 3 |" in text
    assert "A note." in text
    assert "Measured today, in 5 s. Before, the processors were 3 % busy." in text
    assert "| CPUs | 2 |" in text
    assert "its figures mean nothing" in text
    assert "![" not in text


def test_the_page_tells_what_bounds_a_target_that_is_not_met_and_of_no_other() -> None:
    report = Report("drain", "A backlog.")
    for measured, bound in {0.5: "the disk", 0.6: "", 1.0: "the disk"}.items():
        report.targets.append(Target(f"drain {measured}", "times", measured, at_least=0.75, bound=bound))
    text = page.write([report], {}, results="r.json", plot=None, quick=False)
    assert "- drain 0.5: the disk\n" in text
    assert "- drain 0.6: no side that was measured does less: what is left is ours\n" in text
    assert "- drain 1.0" not in text


def test_the_page_has_the_figures_that_are_in_the_file_beside_it() -> None:
    """As the README has: tests/unit/documents/test_figures.py."""
    results_file, plot = DOCS / "performance.json", DOCS / "performance.svg"
    machine = orjson.loads(results_file.read_bytes())["machine"]
    reports = results.read(results_file, machine)

    text = page.write([*reports.values()], machine, results=results_file.name, plot=plot.name, quick=False)

    assert (DOCS / "performance.md").read_text() == text


def test_a_bound_names_the_sides_that_do_less_and_whether_they_meet_the_target() -> None:
    target = Target("drain", "times", 0.5, at_least=0.8)
    assert bounded(target, {"read": 0.61, "send": 1.2, "none": None}).bound == (
        "`read` (0.61) misses it, too; `send` (1.2) would meet it"
    )
    assert bounded(target, {"read": 0.9, "send": 1200.0}, "the cursor").bound == (
        "`read` (0.9), `send` (1,200) would meet it: what is left is ours, the cursor"
    )
    assert bounded(target, {"read": 0.7, "send": 0.6}, "the cursor").bound == "`read` (0.7), `send` (0.6) miss it, too"
    assert bounded(target, {"none": None}).bound == ""
    assert bounded(target, {"read": 0.7, "poll": 0.4}).bound == (
        "`read` (0.7) misses it, too; `poll` (0.4) does less, and worse"
    )
    assert bounded(target, {"send": 0.9, "poll": 0.4, "wait": 0.45}, "the cursor").bound == (
        "`send` (0.9) would meet it; `poll` (0.4), `wait` (0.45) do less, and worse: what is left is ours, the cursor"
    )
    assert bounded(Target("latency", "ms", 9.0, at_most=3), {"bare": 4.0, "poll": 10.1}).bound == (
        "`bare` (4) misses it, too; `poll` (10.1) does less, and worse"
    )


def test_earlier_results_stay_unless_they_are_of_another_machine(tmp_path: Path) -> None:
    report = Report("drain", "A backlog.", notes=["A note."], seconds=2.5, measured="today, commit a")
    report.add("ours", "events/s", [1000.0, 3000.0])
    report.targets.append(Target("drain, against bare", "times", 0.5, at_least=0.75))
    report.curves.append(Curve("Drain", "rows", "events/s", {"": [(1.0, 2.0)]}))
    machine = {"date": "today", "commit": "a", "CPUs": "2"}
    results.write(tmp_path / "r.json", [report], machine)
    assert results.read(
        tmp_path / "r.json", machine | {"date": "tomorrow", "commit": "b", "imi-registry": "1.0.0"}
    ) == {"drain": report}
    assert results.read(tmp_path / "r.json", machine | {"CPUs": "4"}) == {}
    assert results.read(tmp_path / "none.json", machine) == {}
