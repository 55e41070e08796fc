"""Proof that the judge finds each kind of wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults.suite.checker import Told, Verdict, judge
from tests.faults.suite.entries import MARK, UNPLACED, Entry, act_token, entry_of, outcome_token
from tests.faults.suite.history import WRITTEN, Notes
from tests.faults.suite.judging.noting import A1, A2, A3, B1, command, noted, outcome


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

    assert entry_of(json.dumps({"data": data}).encode()) == Entry(UNPLACED, 0, outcome_token("6f1c", "rejected"))


MADE, MARKED, END = Entry("g", 1, "t"), Entry("g", 2, "u"), Entry("g", 3, act_token("deleted", "u"))
"""A project that comes, is changed, and goes."""


def event(action: str, text: str = MARKED.text, **data: object) -> Entry | None:
    """The entry that an event of a project tells in whose row the text stands."""
    data = {"description": text, "metadata": {MARK: MADE.text}, "changed": {}} | data
    return entry_of(json.dumps({"type": f"imi.project.{action}.v1", "data": data}).encode())


def test_the_judge_knows_what_comes_and_goes_by_the_action_and_the_text_in_the_row() -> None:
    assert event("registered") == MADE
    assert event("updated", changed={"description": None}) == MARKED
    assert event("updated", changed={"metadata": {}}) is None
    assert event("deleted") == END.as_told
    assert event("deactivated") == Entry(UNPLACED, 0, act_token("deactivated", "u"))
    assert event("deleted", "of nobody") is None


def test_a_creation_and_a_removal_are_told_once_and_in_order(tmp_path: Path) -> None:
    def judged(*told: Entry, committed: tuple[Entry, ...] = (MADE, MARKED, END)) -> Told:
        seen = [entry.as_told for entry in told]
        found = noted(tmp_path / "run", committed=list(committed), told=seen)
        assert found.stream == found.replay
        return found.stream

    again = Entry("g", 4, "v")
    assert judged(MADE, MARKED, END) == judged(MADE, MARKED, END, again, committed=(MADE, MARKED, END, again)) == Told()
    assert judged(MADE, MARKED).lost == [END]
    assert judged(MARKED, END).lost == [MADE]
    assert judged(MADE, MADE, MARKED, END).duplicated == [MADE]
    assert judged(MADE, MARKED, END, END).duplicated == [END]
    assert judged(MARKED, END, MADE).reordered == [(END, MADE)]
    assert judged(MADE, END, MARKED).reordered == [(END, MARKED)]
    assert judged(MADE, MARKED, again, END, committed=(MADE, MARKED, END, again)).reordered == [(again, END)]
    assert judged(MADE, MARKED, END, committed=(MADE,)).phantoms == [MARKED, END.as_told]
    assert judged(MADE, again, committed=(MADE,)).phantoms == [again]


def test_a_removal_that_was_taken_back_may_be_told_and_the_next_attempt_is_another(tmp_path: Path) -> None:
    marked, end = Entry("g", 2, "w"), Entry("g", 3, act_token("deleted", "w"))

    def judged(*told: Entry) -> Told:
        seen = [entry.as_told for entry in told]
        return noted(tmp_path / "run", committed=[MADE, marked, end], told=seen, taken_back=(MARKED, END)).stream

    assert judged(MADE, MARKED, END, marked, end) == judged(MADE, marked, end) == Told()
    assert judged(MADE, MARKED, END, marked).lost == [end]
    assert judged(MADE, MARKED, END, END, marked, end).duplicated == [END]


def test_the_projects_of_a_place_come_in_order_and_to_a_subscriber_at_once(tmp_path: Path) -> None:
    first, second = [Entry("g/1", 1, "t"), Entry("g/1", 2, act_token("deleted", "t"))], [Entry("g/2", 3, "u")]

    def judged(told: list[Entry], handled: list[Entry]) -> Verdict:
        every = [[entry.as_told for entry in entries] for entries in (told, handled)]
        return noted(tmp_path / "run", committed=[*first, *second], told=every[0], handled=every[1])

    assert judged([*first, *second], [*second, *first]).is_clean
    assert judged([*second, *first], first).stream.reordered == [(second[0], first[0])]
    assert judged([*first, *second], [*second, *first[::-1]]).subscriber.reordered == [(first[1], first[0])]


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
