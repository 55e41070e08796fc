"""Record what came of the tests that docs/reliability.md names, out of a run of pytest in this checkout.

`pytest --long tests/faults/relay/test_large_transactions.py --junitxml FILE`, or the whole tests so, and then
`python -m tests.faults.suite.promises.own_tests FILE`. The report says of which commit it is: tests/conftest.py
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import typer

from docs.commit import DIRTY
from tests.faults.suite import page, results
from tests.faults.suite.promises.texts import OTHERS
from tests.faults.suite.results import LargeTransaction, OwnTests, Results

FILES = {file for _, _, attack in OTHERS for file in page.files_in(attack)}
LARGE = "tests/faults/relay/test_large_transactions.py"
EVENTS_AND_KILLS = re.compile(r"\[(\d+)-(\d+)\]")
"""What its test is named after."""
app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(report: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="As --junitxml writes it.")]) -> None:
    """Record tests that held. Exit code 1, and nothing is recorded, where one of them failed or none is there.

    Nor is it where the checkout had changes as they began.
    """
    try:
        found = recorded(results.read(), report.read_text())
    except (ValueError, ElementTree.ParseError) as error:
        print(f"{report}: {error}")
        raise typer.Exit(1) from error
    results.store(found)
    page.write()


def recorded(known: Results, report: str) -> Results:
    """`known` with what a JUnit report tells of `FILES`. Raises `ValueError` where a test failed, or none was run.

    And where the report does not tell of which commit it is, or that files differed from it.
    """
    root = ElementTree.fromstring(report)  # noqa: S314  # pytest's own
    commit = _commit(root)
    date = next((str(suite.get("timestamp"))[:10] for suite in root.iter("testsuite")), results.today())
    cases: dict[str, list[ElementTree.Element]] = defaultdict(list)
    for case in root.iter("testcase"):
        file = f"{str(case.get('classname')).replace('.', '/')}.py"
        if file in FILES and case.find("skipped") is None:
            cases[file].append(case)
            if case.find("failure") is not None or case.find("error") is not None:
                raise ValueError(f"{case.get('name')} of {file} failed")
    if not cases:
        raise ValueError("none of the tests that docs/reliability.md names has run")
    own = {one.file: one for one in known.own_tests}
    large = {one.events: one for one in known.large_transactions}
    for file, of_file in cases.items():
        seconds = sum(_seconds(case) for case in of_file)
        own[file] = OwnTests(file=file, date=date, commit=commit, seconds=round(seconds, 1))
        for case in of_file:
            size = EVENTS_AND_KILLS.search(str(case.get("name")))
            if file == LARGE and size is not None:
                events, kills = map(int, size.groups())
                large[events] = LargeTransaction(
                    date=date, commit=commit, events=events, kills=kills, seconds=round(_seconds(case), 1)
                )
    of_size = [large[events] for events in sorted(large)]
    return known.model_copy(update={"own_tests": [own[file] for file in sorted(own)], "large_transactions": of_size})


def _commit(root: ElementTree.Element) -> str:
    """What was checked out as the tests began."""
    told = {str(one.get("name")): str(one.get("value")) for one in root.iterfind(".//testsuite/properties/property")}
    commit = told.get("commit")
    if commit is None:
        raise ValueError("it does not tell of which commit it is")
    if commit.endswith(DIRTY):
        raise ValueError(f"as it began, tracked files differed from commit {commit.removesuffix(DIRTY)}")
    return commit


def _seconds(case: ElementTree.Element) -> float:
    return float(case.get("time", 0))


if __name__ == "__main__":
    app()
