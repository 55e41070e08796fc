"""The short form of the fault suite, and proof that its judge finds each kind of wrong."""

from __future__ import annotations

import json
import secrets
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.faults.suite import page, results
from tests.faults.suite.__main__ import app
from tests.faults.suite.checker import Told, Verdict, judge
from tests.faults.suite.entries import OUTCOME, Command, Entry, entry_of, outcome_token
from tests.faults.suite.fault import FAULTS
from tests.faults.suite.history import COMMANDED, HANDLED, LEDGER, REPLAY, STREAM, TAKEN_BACK, WRITTEN, Notes
from tests.faults.suite.run import Outcome, attack
from tests.faults.suite.schedule import Limits, Step, left_out, plan

HISTORY = Path("fault-history")
FAULTS_IN_SHORT = 8
"""About a minute; `./run faults` is the long form."""
A1, A2, A3, B1 = Entry("a", 1, "t"), Entry("a", 2, "u"), Entry("a", 3, "v"), Entry("b", 1, "w")


async def test_faults_of_every_kind_break_no_promise(state_dir: Path) -> None:
    seed = secrets.token_hex(4)
    folder = HISTORY / seed
    print(f"seed {seed}: history in {folder}")

    outcome = await attack(seed, Limits(FAULTS_IN_SHORT), state_dir, folder)

    assert outcome.verdict.is_clean, outcome.verdict
    assert outcome.faults == FAULTS_IN_SHORT
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


def command(entry: Entry) -> Command:
    """That is to make this change."""
    return Command(f"id-{entry.token}", entry, "applied")


def outcome(entry: Entry, verdict: str = "applied") -> Entry:
    """Of the command that is to make this change, as its event tells it."""
    return Entry(OUTCOME, 0, outcome_token(f"id-{entry.token}", verdict))


def noted(
    folder: Path,
    *,
    committed: list[Entry],
    told: list[Entry],
    handled: list[Entry] | None = None,
    unknown: tuple[Entry, ...] = (),
    commanded: tuple[tuple[Entry, float], ...] = (),
    rejected: tuple[Entry, ...] = (),
    taken_back: tuple[Entry, ...] | None = None,
) -> Verdict:
    """The verdict about a run in which this was noted.

    `commanded` are commands that were applied, each answered a second after a time; `taken_back` is what a standby
    lacked that was promoted at the time 10 and left behind at 5.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lists = {LEDGER: committed, STREAM: told, REPLAY: told, HANDLED: told if handled is None else handled}
    for name, entries in lists.items():
        notes = Notes(folder, name)
        notes.add_all(enumerate(entries))
        notes.close()
    notes = Notes(folder, COMMANDED)
    for entry in unknown:
        notes.add(**command(entry)._asdict(), outcome="unknown", sent_at=100.0, answered_at=103.0)
    for entry, at in commanded:
        notes.add(**command(entry)._asdict(), outcome="applied", sent_at=at, answered_at=at + 1)
    for entry in rejected:
        notes.add(**command(entry)._asdict(), outcome="rejected", sent_at=100.0, answered_at=101.0)
    notes.close()
    if taken_back is not None:
        notes = Notes(folder, TAKEN_BACK)
        notes.add(began_at=5.0, over_at=10.0, entries=taken_back)
        notes.close()
    return judge(folder)


def test_what_is_lost_phantom_doubled_or_out_of_order_is_found(tmp_path: Path) -> None:
    def judged(*told: Entry) -> Verdict:
        return noted(tmp_path / "run", committed=[A1, A2, B1], told=list(told), unknown=(A3,))

    assert judged(A1, B1, A2).is_clean
    assert judged(A1, B1, A2, A3).is_clean
    assert judged(A1, B1).stream.lost == [A2]
    assert judged(A1, A2, B1, Entry("a", 2, "x")).stream.phantoms == [Entry("a", 2, "x")]
    assert judged(A1, A2, B1, A1).stream.duplicated == [A1]
    assert judged(A2, A1, B1).replay.reordered == [(A2, A1)]
    assert not noted(tmp_path / "run", committed=[], told=[]).is_clean


def test_what_a_promoted_standby_lacked_may_be_told_once_and_in_order(tmp_path: Path) -> None:
    again = Entry("a", 2, "z")

    def judged(*told: Entry, taken_back: tuple[Entry, ...] | None = (A2, A3)) -> Verdict:
        return noted(tmp_path / "run", committed=[A1, again], told=list(told), taken_back=taken_back)

    assert judged(A1, A2, A3, again).is_clean
    assert judged(A1, again).is_clean
    assert judged(A1, A2, A3).stream.lost == [again]
    assert judged(A1, A2, A2, again).stream.duplicated == [A2]
    assert judged(A1, A3, A2, again).stream.reordered == [(A3, A2)]
    assert judged(A1, A2, again, B1).stream.phantoms == [B1]
    assert judged(A1, A2, again, taken_back=()).stream.phantoms == [A2]
    assert judged(A1, A2, again).taken_back == 2


@pytest.mark.parametrize(("at", "is_known"), [(1.0, True), (4.5, False), (7.0, False), (11.0, True)])
def test_of_a_command_that_was_under_way_while_a_standby_was_left_behind_nothing_is_known(
    tmp_path: Path, at: float, is_known: bool
) -> None:
    def judged(*told: Entry) -> Verdict:
        return noted(tmp_path / "run", committed=[A1], told=list(told), commanded=((B1, at),), taken_back=())

    assert judged(A1, B1, outcome(B1)).is_clean
    assert judged(A1).stream.lost == ([B1, command(B1).outcome] if is_known else [])
    assert judged(A1, B1, B1, outcome(B1)).stream.duplicated == ([B1] if is_known else [])
    assert judged(A1, B1, outcome(B1), outcome(B1)).stream.duplicated == ([command(B1).outcome] if is_known else [])


def test_an_answered_command_has_one_outcome_behind_its_change_and_no_other(tmp_path: Path) -> None:
    def judged(*told: Entry, **commands: Any) -> Told:
        found = noted(tmp_path / "run", committed=[A1], told=[A1, *told], **commands)
        assert found.stream == found.replay == found.subscriber or found.repeated
        return found.stream

    applied, rejected = {"commanded": ((B1, 100.0),)}, {"rejected": (B1,)}
    no = command(B1)._replace(verdict="rejected").outcome
    assert judged(B1, outcome(B1), **applied) == judged(outcome(B1, "rejected"), **rejected) == Told()
    assert judged(B1, **applied).lost == [command(B1).outcome]
    assert judged(**rejected).lost == [no]
    assert judged(B1, outcome(B1), outcome(B1), **applied).duplicated == [command(B1).outcome]
    assert judged(outcome(B1, "rejected"), outcome(B1, "rejected"), **rejected).duplicated == [no]
    assert judged(outcome(B1), B1, **applied).reordered == [(command(B1).outcome, B1)]
    assert judged(B1, outcome(B1), outcome(A2), **applied).phantoms == [outcome(A2)]
    assert judged(B1, outcome(B1), outcome(B1, "rejected"), **applied).phantoms == [outcome(B1, "rejected")]
    assert judged(B1, outcome(B1, "rejected"), **rejected).phantoms == [B1]


def test_a_command_of_unknown_outcome_has_one_event_of_it_at_most(tmp_path: Path) -> None:
    def judged(*told: Entry) -> Told:
        return noted(tmp_path / "run", committed=[A1], told=[A1, *told], unknown=(B1,)).stream

    assert judged() == judged(B1, outcome(B1)) == Told()
    assert judged(B1, outcome(B1), outcome(B1)).duplicated == [command(B1).outcome]
    assert judged(outcome(B1, "rejected")).phantoms == [outcome(B1, "rejected")]


def test_the_judge_knows_an_outcome_by_the_id_of_its_command_in_the_event() -> None:
    data = {"command_id": "6f1c", "verdict": "rejected", "idempotency_key": A1.text, "changed": {}}

    assert entry_of(json.dumps({"data": data}).encode()) == Entry(OUTCOME, 0, outcome_token("6f1c", "rejected"))


def test_a_subscriber_may_be_told_again_and_must_be_told_all_in_order(tmp_path: Path) -> None:
    def handled(*entries: Entry) -> Verdict:
        return noted(tmp_path / "run", committed=[A1, A2], told=[A1, A2], handled=list(entries))

    assert handled(A1, A2, A1, A2).is_clean
    assert handled(A1, A2, A1).repeated == 1
    assert handled(A2).subscriber.lost == [A1]
    assert handled(A2, A1).subscriber.reordered == [(A2, A1)]


@pytest.mark.parametrize("is_durable", [True, False], ids=["synchronous", "asynchronous"])
def test_a_commit_that_the_database_forgot_is_found_where_it_was_promised(tmp_path: Path, is_durable: bool) -> None:
    folder = tmp_path / "run"
    noted(folder, committed=[A1], told=[A1])
    notes = Notes(folder, WRITTEN)
    notes.add(outcome="committed", is_durable=is_durable, entries=[A1, A2])
    notes.add(outcome="rolled back", is_durable=True, entries=[A3])
    notes.close()

    assert judge(folder).forgotten == ([A2] if is_durable else [])


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
