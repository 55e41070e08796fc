"""The short form of the fault suite, its schedule, and its page."""

from __future__ import annotations

import secrets
import shutil
from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.faults.suite import page, results
from tests.faults.suite.__main__ import app
from tests.faults.suite.fault import FAULTS
from tests.faults.suite.judging.noting import A1, noted
from tests.faults.suite.run import Outcome, attack
from tests.faults.suite.schedule import Limits, Step, left_out, plan

HISTORY = Path("fault-history")
FAULTS_IN_SHORT = 8
"""About a minute; `./run faults` is the long form."""


async def test_faults_of_every_kind_break_no_promise(state_dir: Path) -> None:
    seed = secrets.token_hex(4)
    folder = HISTORY / seed
    print(f"seed {seed}: history in {folder}")

    outcome = await attack(seed, Limits(FAULTS_IN_SHORT), state_dir, folder)

    assert outcome.verdict.is_clean, outcome.verdict
    assert outcome.faults == FAULTS_IN_SHORT
    assert outcome.verdict.acts > 0
    shutil.rmtree(folder)


POSSIBLE = {name for name, fault in FAULTS.items() if fault.lacks is None}
"""Kinds that this machine can have."""


def planned(seed: str, limits: Limits, most: int | None = None) -> list[Step]:
    """The first steps of a plan, or all."""
    return list(islice(plan(seed, limits), most))


def names_in(steps: list[Step]) -> list[str]:
    return [fault.name for step in steps for fault in step.faults]


def test_a_seed_tells_the_schedule_and_the_long_form_has_every_kind() -> None:
    few = Limits(50)
    assert [step[:3] for step in planned("a", few)] == [step[:3] for step in planned("a", few)]
    assert [step[:3] for step in planned("a", few)] != [step[:3] for step in planned("b", few)]
    assert len(names_in(planned("a", few))) == 50
    assert set(names_in(planned("a", Limits(500)))) == POSSIBLE
    assert set(names_in(planned("a", Limits(minutes=60), len(POSSIBLE)))) == POSSIBLE
    assert len(names_in(planned("a", Limits(500, minutes=60)))) == 500


def test_a_kind_that_a_run_lacked_is_told_with_why(monkeypatch: pytest.MonkeyPatch) -> None:
    name, minutes = "clock jumps", "transaction idle for minutes"
    monkeypatch.setitem(FAULTS, name, FAULTS[name]._replace(lacks="no such tool"))
    for limits in (Limits(500), Limits(minutes=60)):
        drawn = names_in(planned("a", limits, 600))
        assert name not in drawn
        assert left_out(drawn, limits)[name] == "no such tool"
        assert minutes in drawn
    for limits in (Limits(99), Limits(500, minutes=9)):
        drawn = names_in(planned("a", limits, 600))
        assert left_out(drawn, limits)[minutes] == "lasts for minutes"
    assert left_out({}, Limits(500))["connections reset"] == "not drawn"
    assert left_out({}, Limits(500), "clock")["connections reset"] == 'not asked for: only "clock"'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--faults", "0"], "--faults"),
        (["--minutes", "0"], "--minutes"),
        (["--minutes", "soon"], "--minutes"),
        (["--only", "no such kind"], '"no such kind" is in none of'),
        (["--only", "pgbouncer killed"], "pgbouncer killed (no such tool)"),
        (["--seed", "../other"], '"../other" must be the name of a folder'),
    ],
)
def test_arguments_that_make_no_run_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    name = "pgbouncer killed"
    monkeypatch.setitem(FAULTS, name, FAULTS[name]._replace(lacks="no such tool"))

    refused = CliRunner(env={"COLUMNS": "2000"}).invoke(app, arguments)

    assert refused.exit_code == 2
    assert said in refused.output


def test_the_page_is_what_the_results_make_it() -> None:
    assert page.FILE.read_text() == page.text(results.read())


def test_the_page_tells_which_kinds_the_latest_run_lacked_and_why(tmp_path: Path) -> None:
    verdict = noted(tmp_path / "run", committed=[A1], told=[A1])
    before = Outcome("a", {"x": 3, "y": 1}, {}, {"x": 0.1}, 1.0, 1, 0, verdict)
    last = Outcome("b", {"x": 2}, {"y": "no such tool", "z": "not drawn"}, {"x": 0.1}, 1.0, 1, 0, verdict)
    earlier, latest = results.of(before, "abc"), results.of(last, "def")

    told = page.text(results.Results(runs=[earlier, latest]))

    assert "| x | 2 | 5 |\n| y | 0: no such tool | 1 |\n| z | 0: not drawn | 0 |\n" in told
    assert "| y | 1 | 1 |" in page.text(results.Results(runs=[earlier]))
