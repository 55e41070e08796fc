"""What a run of pytest tells of the tests that docs/reliability.md names is recorded, if they held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from docs.commit import checked_out
from tests.faults.suite import page
from tests.faults.suite.promises.own_tests import FILES, recorded
from tests.faults.suite.results import LargeTransaction, OwnTests, Results

CLOCKS, LARGE = "tests.faults.relay.test_clocks", "tests.faults.relay.test_large_transactions"
FILES_OF = {module: f"{module.replace('.', '/')}.py" for module in (CLOCKS, LARGE)}


def report(*cases: str, commit: str | None = "new") -> str:
    told = "" if commit is None else f'<properties><property name="commit" value="{commit}"/></properties>'
    return f'<testsuites><testsuite timestamp="2026-11-29T00:16:47">{told}{"".join(cases)}</testsuite></testsuites>'


def case(module: str, seconds: float = 1.0, within: str = "", name: str = "test_x") -> str:
    return f'<testcase classname="{module}" name="{name}" time="{seconds}">{within}</testcase>'


def test_every_test_that_the_page_names_is_a_file() -> None:
    assert [file for file in FILES if not Path(file).is_file()] == []
    assert len(FILES) > 10


def test_the_page_says_of_each_file_whether_it_is_recorded() -> None:
    attack = f"`{FILES_OF[LARGE]}`, `{FILES_OF[CLOCKS]}`, and the suite"
    held = OwnTests(file=FILES_OF[CLOCKS], date="2026-11-01", commit="old", seconds=1.0)

    told = page._held(attack, Results(own_tests=[held]))

    assert told == f"`{FILES_OF[LARGE]}`: not recorded yet; 2026-11-01 (old), in 1 s"


def test_what_held_is_recorded_in_place_of_what_was() -> None:
    before = OwnTests(file=FILES_OF[CLOCKS], date="2026-11-01", commit="old", seconds=1.0)
    of_thousands = LargeTransaction(date="2026-11-01", commit="old", events=8_000, kills=1, seconds=9.0)
    of_million = LargeTransaction(date="2026-11-01", commit="old", events=1_000_000, kills=3, seconds=204.0)
    known = Results(own_tests=[before], large_transactions=[of_thousands, of_million])

    found = recorded(
        known,
        report(
            case(CLOCKS, 1.5),
            case(CLOCKS, 2.0),
            case(CLOCKS, 4.0, "<skipped/>"),
            case(LARGE, 3.0, name="test_x[8000-1]"),
            case("tests.unit.test_others", 1.0, "<failure/>"),
        ),
    )

    assert found.own_tests == [
        OwnTests(file=FILES_OF[CLOCKS], date="2026-11-29", commit="new", seconds=3.5),
        OwnTests(file=FILES_OF[LARGE], date="2026-11-29", commit="new", seconds=3.0),
    ]
    fresh = LargeTransaction(date="2026-11-29", commit="new", events=8_000, kills=1, seconds=3.0)
    assert found.large_transactions == [fresh, of_million]


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        ([case(CLOCKS), case(LARGE, 1.0, "<failure/>")], "test_x of .*test_large_transactions.py failed"),
        ([case(CLOCKS, 1.0, "<error/>")], "test_x of .*test_clocks.py failed"),
        ([case(CLOCKS, 0.0, "<skipped/>"), case("tests.unit.test_others")], "none of the tests"),
    ],
)
def test_nothing_is_recorded_of_tests_that_failed_or_did_not_run(cases: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        recorded(Results(), report(*cases))


@pytest.mark.parametrize(
    ("commit", "said"), [("new-dirty", "tracked files differed from commit new$"), (None, "not tell of which commit")]
)
def test_nothing_is_recorded_of_files_of_which_no_commit_is_known(commit: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        recorded(Results(), report(case(CLOCKS), commit=commit))


def test_a_report_tells_what_was_checked_out_as_it_began(tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-n0", "--collect-only", f"--junitxml={file}", FILES_OF[CLOCKS]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    told = ElementTree.parse(file).iterfind(".//testsuite/properties/property")  # noqa: S314  # pytest's own
    assert [one.get("value") for one in told if one.get("name") == "commit"] == [checked_out()]
