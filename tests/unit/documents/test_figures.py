"""Each figure that a page has of docs/performance.json or docs/reliability.json is the one that is there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from docs.figures import PLACES, filled, pages, untrue, with_table
from docs.measured import Results, figures, table_of_faults
from publisher.capacity.estimate import MEASURED

ROOT = Path(__file__).parents[3]
GENERATED = {"cli-reference.md", "performance.md", "reliability.md"}
PAGES = sorted(["README.md", *(f"docs/{page.name}" for page in ROOT.glob("docs/*.md") if page.name not in GENERATED)])
LOOKS_MEASURED = re.compile(
    r"\b(\d{1,3}(?:,\d{3})*,(?!000)\d{3})\b"  # a size, a limit or an assumption is round
    r"|(\d[\d,.]*) (?:events|transactions|rows|commands|messages|writes)/s"
)
NOT_TYPED = r"^```.*?^```|^<!-- made by .*?^<!-- end of it -->"
"""What is shown, and what another program writes."""
OTHERS = {
    "docs/history.md": {"1,500"},  # a limit, as the next three
    "docs/schema.md": {"1,024", "2,048"},
    "docs/nats.md": {"210"},  # tried once, on a busy machine
    "docs/scaling.md": {"1,024", "10,000", "100,000", "129"},  # slots, what is assumed, what is calculated from it
}
"""Numbers that only look so."""


def unheld(text: str, places: Sequence[str]) -> set[str]:
    """Numbers of a page that look measured, and are at none of the `places`."""
    names = {name: "_" for place in places for name in re.findall(r"\{([^{}]+)\}", place)}
    rest, _ = filled(re.sub(NOT_TYPED, "", text, flags=re.MULTILINE | re.DOTALL), places, names)
    return {next(filter(None, found)) for found in LOOKS_MEASURED.findall(rest)}


def test_every_figure_is_the_one_that_was_measured() -> None:
    found, faults = pages(ROOT, figures(Results.read()))
    assert faults == []
    assert [path.name for path, text in found.items() if path.read_text() != text] == []


def test_what_is_said_without_a_figure_is_so() -> None:
    assert untrue(ROOT, Results.read()) == []


@pytest.mark.parametrize("page", PAGES)
def test_no_page_has_a_figure_that_nothing_holds(page: str) -> None:
    assert unheld((ROOT / page).read_text(), PLACES.get(page, [])) == OTHERS.get(page, set())


def test_a_figure_that_nothing_holds_is_noticed() -> None:
    text = "Up to 10,000 wait. It does 1,434 a second, or 900 commands/s, on 28,152 events/s.\n```\n1,325\n```\n"
    assert unheld(text, ["on {drain} events/s"]) == {"1,434", "900"}


def test_an_older_figure_is_replaced_however_the_lines_are_broken_and_the_words_stay() -> None:
    text = "It does about\n  43,771 events/s, 6,068 a second.\n"
    found = filled(text, ["does about {drain} events/s, {writes} a"], {"drain": "28,152", "writes": "0.5"})
    assert found == ("It does about\n  28,152 events/s, 0.5 a second.\n", [])


@pytest.mark.parametrize(("text", "times"), [("", 0), ("at 1/s and at 2/s", 2)])
def test_words_that_are_not_there_just_once_are_named(text: str, times: int) -> None:
    assert filled(text, ["at {drain}/s"], {"drain": "3"}) == (
        text,
        [f'"at {{drain}}/s" is there {times} times; it must be there once'],
    )


def test_words_that_what_was_measured_belies_are_named() -> None:
    results = Results.read()
    for report in results.performance["reports"]:
        if report["name"] == "sustained":
            (lost,) = [
                one for one in report["series"] if one["name"] == "imi-registry serve: lost, random rows, a kill"
            ]
            lost["values"] = [3.0]
    (fault,) = untrue(ROOT, results)
    assert fault.startswith('docs/comparison.md: "this publisher lost, doubled and reordered none" is not there, or no')


def test_a_table_has_what_was_measured_and_says_what_was_not() -> None:
    results = Results.read()
    sustained = next(report for report in results.performance["reports"] if report["name"] == "sustained")
    sustained["series"] = [
        {"name": f"mq-bridge postgres_cdc: {fault}, hot rows", "unit": "rows", "values": [count, 3.0]}
        for count, fault in enumerate(("lost", "doubled", "reordered"))
    ]
    line = "| mq-bridge `postgres_cdc`, as it comes | not measured | not measured | 3, 4, 5 | not measured |"
    assert line in table_of_faults(results)


def test_a_table_without_its_place_is_named() -> None:
    made = "<!-- made by docs/figures.py -->\n\n| 1 |\n\n<!-- end of it -->\n"
    assert with_table("page", f"a\n{made}b\n", "| 2 |") == f"a\n{made.replace('1', '2')}b\n"
    with pytest.raises(LookupError, match=r"^page: a table made by docs/figures.py is there 0 times$"):
        with_table("page", "a\n", "| 2 |")


def test_a_figure_that_was_not_measured_is_named() -> None:
    results = Results.read()
    results.performance["reports"] = [one for one in results.performance["reports"] if one["name"] != "drain"]
    with pytest.raises(LookupError, match=r'^docs/performance.json has no report "drain"$'):
        figures(results)


def test_the_program_estimates_by_the_same_figures() -> None:
    results = Results.read()
    assert MEASURED.publish_rate == round(results.series("drain", "imi-registry serve"))
    assert MEASURED.wal_bytes == round(results.series("outages", "WAL of a write, its event, and the cursor"))
