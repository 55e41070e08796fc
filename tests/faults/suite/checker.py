"""The judge of a run: reads its history and nothing else. Neither the outbox nor the record of the relay is believed.

The truth is the ledger, a table of the writers' own: each transaction writes its entries there, too, so PostgreSQL
itself tells which were committed. Commands cannot do that; of those the outcome tells, and one of unknown outcome may
be told or not. An event of an outcome is one more entry of the command's row, behind its change: the answer that the
sender noted, under the id that he gave, told once; what is told of a command that nobody sent was never committed. What
makes, ends, merges or moves a project or a worktree is an entry of the ledger, too, between changes of its row.

A standby that lacks something and is promoted takes it back, as docs/high-availability.md says. What it lacked is
known, since the lost primary was asked, too: it may have been told, once and in order among its like, and is committed
no more. Of commands nobody knows: one that was under way meanwhile may be told twice, or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.suite import history
from tests.faults.suite.entries import Command, Entry

BY_PLACE, BY_PROJECT = attrgetter("place"), attrgetter("row")
"""Whose changes have one order: all projects of a place, one after the other; to a subscriber those of one project."""


class Allowed(NamedTuple):
    """What may be told, and what must be."""

    confirmed: set[Entry]
    """Committed: told once."""
    unknown: set[Entry]
    """Told once, or not at all."""
    doubtful: set[Entry]
    """Told any number of times."""
    eras: dict[Entry, int]
    """Of those that were taken back, by which promotion: their numbers were given again to others."""


@dataclass
class Told:
    """What somebody was told, held against what was committed."""

    lost: list[Entry] = field(default_factory=list)
    """Committed and not told."""
    phantoms: list[Entry] = field(default_factory=list)
    """Told and not committed."""
    duplicated: list[Entry] = field(default_factory=list)
    reordered: list[tuple[Entry, Entry]] = field(default_factory=list)
    """Told for the first time behind a later one of the same row."""


@dataclass
class Verdict:
    """What was found wrong; every list is empty when all promises were kept."""

    stream: Told
    """The event stream, message by message, in its order."""
    replay: Told
    """A replay from the start."""
    subscriber: Told
    """A durable subscriber whose process was killed again and again; it may be told twice (`repeated`)."""
    repeated: int
    """Entries that the subscriber handled more than once."""
    forgotten: list[Entry]
    """Confirmed by a synchronous COMMIT, and not in the database at the end."""
    same_id: list[str]
    """Message ids that the stream holds more than once, whatever the message is."""
    entries: int
    """Committed ones."""
    acts: int
    """Of these, what ended, merged or moved a project or a worktree, or took it up again."""
    outcomes: int
    """Of commands that were answered."""
    taken_back: int
    """Those that a promoted standby lacked."""

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept, and something was promised at all."""
        nothing = Told()
        told = [self.stream, self.replay, self.subscriber]
        return told == [nothing] * 3 and not self.forgotten and not self.same_id and self.entries > 0


def judge(folder: Path) -> Verdict:
    """Judge the history in `folder`."""
    committed = set(history.entries(folder, history.LEDGER))
    losses = list(history.read(folder, history.TAKEN_BACK))
    taken_back = {Entry(*entry): era for era, loss in enumerate(losses, start=1) for entry in loss["entries"]}
    confirmed, unknown, durable, doubtful = set(committed), set(taken_back), set[Entry](), set[Entry]()
    for line in history.read(folder, history.WRITTEN):
        if line["outcome"] == "committed" and line["is_durable"]:
            durable.update(Entry(*entry) for entry in line["entries"])
    outcomes: set[Entry] = set()
    for line in history.read(folder, history.COMMANDED):
        is_answered = line["outcome"] != "unknown"
        command = Command(line["id"], Entry(*line["entry"]), line["outcome" if is_answered else "verdict"])
        is_doubtful = any(_is_of(line, loss) for loss in losses)
        (doubtful if is_doubtful else confirmed if is_answered else unknown).update(command.entries)
        outcomes.add(command.outcome)
    allowed = Allowed(confirmed, unknown, doubtful, taken_back)
    written = {entry.as_told: entry for entry in confirmed | unknown | doubtful}

    def told(name: str, row_of: Callable[[Entry], str] = BY_PLACE) -> Told:
        """What `name` notes, each in its row; one that nobody made as it is."""
        return compare(allowed, [written.get(entry, entry) for entry in history.entries(folder, name)], row_of)

    subscriber = told(history.HANDLED, BY_PROJECT)
    repeated, subscriber.duplicated = len(subscriber.duplicated), []
    ids = Counter(line["id"] for line in history.read(folder, history.MESSAGES))
    return Verdict(
        stream=told(history.STREAM),
        replay=told(history.REPLAY),
        subscriber=subscriber,
        repeated=repeated,
        forgotten=sorted(durable - committed - taken_back.keys()),
        same_id=[id_ for id_, times in ids.items() if times > 1],
        entries=len(confirmed - outcomes),
        acts=sum(entry.is_act for entry in confirmed - outcomes),
        outcomes=len(confirmed & outcomes),
        taken_back=len(taken_back.keys() - committed),
    )


def _is_of(command: dict[str, Any], loss: dict[str, Any]) -> bool:
    """Whether a command may have been carried out by a database that was then replaced by one that lacks it."""
    is_over = command["outcome"] == "applied" and command["answered_at"] < loss["began_at"]
    return bool(command["sent_at"] < loss["over_at"] and not is_over)


def compare(allowed: Allowed, told: Iterable[Entry], row_of: Callable[[Entry], str] = BY_PLACE) -> Told:
    """Compare; `told` is in the order of telling."""
    confirmed, unknown, doubtful, eras = allowed
    told = list(told)
    known = set(told)
    rows: dict[tuple[str, int], list[Entry]] = {}
    for entry in dict.fromkeys(told):
        rows.setdefault((row_of(entry), eras.get(entry, 0)), []).append(entry)
    return Told(
        lost=sorted(confirmed - known),
        phantoms=sorted(known - confirmed - unknown - doubtful),
        duplicated=[entry for entry, times in Counter(told).items() if times > 1 and entry not in doubtful],
        reordered=[pair for entries in rows.values() for pair in pairwise(entries) if pair[0].number > pair[1].number],
    )
