"""What writers write: entries that say which row, its how manyth change, and by which attempt it was made.

An entry travels as a text in a column of a registry row, so every event that tells it can be recognised. An event of a
command's outcome tells an entry, too: its command's number and one more, in the row that this one changes.
"""

from __future__ import annotations

import json
from typing import NamedTuple

MARK = "entry"
OUTCOME = "outcome"
"""The row of an outcome as its event tells it, which knows the command's id alone."""
COLUMNS = ("description", "last_commit_message")
"""Those that tell one: of a project or an activity, and of a worktree."""


class Entry(NamedTuple):
    """One change."""

    row: str
    number: int
    """1, 2, 3 … of its row, in the order in which they were committed."""
    token: str
    """Of the attempt that made it; one that was rolled back leaves its number to another attempt."""

    @property
    def text(self) -> str:
        """As it is written into the row."""
        return f"{MARK} {self.row} {self.number} {self.token}"


class Command(NamedTuple):
    """What its sender notes of one."""

    id: str
    entry: Entry
    """What it is to write."""
    verdict: str
    """What comes of it: applied, or rejected."""

    @property
    def outcome(self) -> Entry:
        """As a part of its row, behind the change."""
        return Entry(self.entry.row, self.entry.number + 1, outcome_token(self.id, self.verdict))

    @property
    def entries(self) -> list[Entry]:
        """All that is told of it."""
        return [self.entry, self.outcome] if self.verdict == "applied" else [self.outcome]


def outcome_token(command_id: str, verdict: str) -> str:
    """What tells an outcome from all others."""
    return f"{verdict} {command_id}"


def entry_of(payload: bytes) -> Entry | None:
    """The entry that the envelope of an event tells; None for other changes."""
    data = json.loads(payload).get("data") or {}
    if "command_id" in data:
        return Entry(OUTCOME, 0, outcome_token(data["command_id"], data["verdict"]))
    changed = ("description",) if "activity_id" in data else data.get("changed", {})
    return entry_in(next((str(data.get(column)) for column in COLUMNS if column in changed), ""))


def entry_in(text: str) -> Entry | None:
    """The entry of which `text` is the text; None for any other."""
    words = text.split(" ")
    if len(words) != 4 or words[0] != MARK:
        return None
    return Entry(words[1], int(words[2]), words[3])
