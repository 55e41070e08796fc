"""The judge of a run: reads its history and nothing else. Neither the outbox nor the record of the relay is believed.

The truth is the ledger, a table of the writers' own: each transaction writes its entries there, too, so PostgreSQL
itself tells which were committed. Commands cannot do that; of those the outcome tells, and one of unknown outcome may
be told or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.faults.suite import history
from tests.faults.suite.entries import Entry


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

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept, and something was promised at all."""
        nothing = Told()
        told = [self.stream, self.replay, self.subscriber]
        return told == [nothing] * 3 and not self.forgotten and not self.same_id and self.entries > 0


def judge(folder: Path) -> Verdict:
    """Judge the history in `folder`."""
    committed = set(history.entries(folder, history.LEDGER))
    confirmed, unknown, durable = set(committed), set[Entry](), set[Entry]()
    for line in history.read(folder, history.WRITTEN):
        if line["outcome"] == "committed" and line["is_durable"]:
            durable.update(Entry(*entry) for entry in line["entries"])
    for line in history.read(folder, history.COMMANDED):
        (confirmed if line["outcome"] == "applied" else unknown).add(Entry(*line["entry"]))
    handled = history.entries(folder, history.HANDLED)
    subscriber = compare(confirmed, unknown, handled)
    repeated, subscriber.duplicated = len(subscriber.duplicated), []
    ids = Counter(line["id"] for line in history.read(folder, history.MESSAGES))
    return Verdict(
        stream=compare(confirmed, unknown, history.entries(folder, history.STREAM)),
        replay=compare(confirmed, unknown, history.entries(folder, history.REPLAY)),
        subscriber=subscriber,
        repeated=repeated,
        forgotten=sorted(durable - committed),
        same_id=[id_ for id_, times in ids.items() if times > 1],
        entries=len(confirmed),
    )


def compare(confirmed: set[Entry], unknown: set[Entry], told: Iterable[Entry]) -> Told:
    """Compare; `told` is in the order of telling."""
    told = list(told)
    known = set(told)
    rows: dict[str, list[Entry]] = {}
    for entry in dict.fromkeys(told):
        rows.setdefault(entry.row, []).append(entry)
    return Told(
        lost=sorted(confirmed - known),
        phantoms=sorted(known - confirmed - unknown),
        duplicated=[entry for entry, times in Counter(told).items() if times > 1],
        reordered=[pair for entries in rows.values() for pair in pairwise(entries) if pair[0].number > pair[1].number],
    )
