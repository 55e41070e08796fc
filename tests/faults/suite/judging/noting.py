"""Histories as tests of the judge write them."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.faults.suite.checker import Verdict, judge
from tests.faults.suite.entries import UNPLACED, Command, Entry, outcome_token
from tests.faults.suite.history import COMMANDED, HANDLED, LEDGER, REPLAY, STREAM, TAKEN_BACK, Notes

A1, A2, A3, B1 = Entry("a", 1, "t"), Entry("a", 2, "u"), Entry("a", 3, "v"), Entry("b", 1, "w")


def command(entry: Entry) -> Command:
    """That is to make this change."""
    return Command(f"id-{entry.token}", entry, "applied")


def outcome(entry: Entry, verdict: str = "applied") -> Entry:
    """Of the command that is to make this change, as its event tells it."""
    return Entry(UNPLACED, 0, outcome_token(f"id-{entry.token}", verdict))


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
