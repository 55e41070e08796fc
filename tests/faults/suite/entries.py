"""What writers write: entries that say which row, its how manyth change, and by which attempt it was made.

An entry travels as a text in a column of a registry row, so every event that tells it can be recognised: a row that is
made has it in its metadata, and what changes no text, an act, is known by the text that its transaction wrote before
it, and that still stands in the row. An event of a command's outcome tells an entry, too: its command's number and
one more, in the row that this one changes.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

MARK = "entry"
UNPLACED = "unplaced"
"""The row of an entry as its event tells it where this knows the token alone: one of two words."""
COLUMNS = ("description", "last_commit_message")
"""Those that tell one: of a project or an activity, and of a worktree."""
MADE = {"registered", "created"}
ACTS = {"deleted", "deactivated", "removed", "reactivated", "merged", "moved"}
"""What changes no text. Of a move to another project `updated` tells."""


class Entry(NamedTuple):
    """One change."""

    row: str
    number: int
    """1, 2, 3 … of its row, in the order in which they were committed; what one statement does to many has one."""
    token: str
    """Of the attempt that made it; one that was rolled back leaves its number to another attempt."""

    @property
    def text(self) -> str:
        """As it is written into the row."""
        return f"{MARK} {self.row} {self.number} {self.token}"

    @property
    def place(self) -> str:
        """The row without which of its projects it is: `g1` of `g1/5c0e1f`, where one comes after the other."""
        return self.row.partition("/")[0]

    @property
    def is_act(self) -> bool:
        """Whether the token has two words: it is an act's, or an outcome's."""
        return " " in self.token

    @property
    def as_told(self) -> Entry:
        """As its event tells it."""
        return Entry(UNPLACED, 0, self.token) if self.is_act else self


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


def act_token(action: str, token: str) -> str:
    """The token of what was done to a thing whose change before it has that one."""
    return f"{action} {token}"


def origin_of(row: str) -> str:
    """The origin of the row's project."""
    return f"git@github.com:{MARK}/{row}.git"


def entry_of(payload: bytes) -> Entry | None:
    """The entry that the envelope of an event tells, as it is told; None for other changes."""
    envelope = json.loads(payload)
    data = envelope.get("data") or {}
    if "command_id" in data:
        return Entry(UNPLACED, 0, outcome_token(data["command_id"], data["verdict"]))
    action, changed = envelope["type"].split(".")[2], data.get("changed", {})
    if action in MADE:
        return entry_in(str(data.get("metadata", {}).get(MARK)))
    action = "moved" if "project_id" in changed else action
    if action in ACTS:
        mark = entry_in(_text(data))
        return mark and Entry(UNPLACED, 0, act_token(action, mark.token))
    return entry_in(_text(data if "activity_id" in data else {column: data.get(column) for column in changed}))


def _text(data: dict[str, Any]) -> str:
    return next((str(data[column]) for column in COLUMNS if column in data), "")


def entry_in(text: str) -> Entry | None:
    """The entry of which `text` is the text; None for any other."""
    words = text.split(" ")
    if len(words) != 4 or words[0] != MARK:
        return None
    return Entry(words[1], int(words[2]), words[3])
