"""What an import did, would do, and leaves to a person.

A file may have millions of rows with one fault: of each kind the first are kept, and how many there are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from registry.urls import safe_to_tell
from registry.validation import told

LISTED = 1_000
"""Problems of a table that are kept, and notes about a field of it."""


class Problem(NamedTuple):
    """A row that cannot be imported as it is."""

    table: str
    """Of the old database."""
    id: str
    text: str
    """What is wrong: field, value, rule."""
    remedy: str
    """What somebody can do about it, in the old database or by an option."""


class Note(NamedTuple):
    """A row that is imported otherwise than it stood there."""

    table: str
    id: str
    field: str
    """Of the old database."""
    text: str


@dataclass
class Report:
    """Of one import."""

    imported: dict[str, int] = field(default_factory=dict)
    """New rows by table of the registry."""
    present: dict[str, int] = field(default_factory=dict)
    """Rows that were there already, by id or origin, and were left as they are."""
    problems: list[Problem] = field(default_factory=list)
    """The first `LISTED` of each table."""
    notes: list[Note] = field(default_factory=list)
    """The first `LISTED` of each table and field."""
    problem_counts: Counter[str] = field(default_factory=Counter)
    """All there are, by table."""
    note_counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """All there are, by table and field."""
    is_done: bool = False
    """Whether anything was written."""

    def add_problem(self, table: str, id_: str, text: str, remedy: str) -> None:
        """Count a row that cannot be imported, and keep it if it is one of the first."""
        self.problem_counts[table] += 1
        if self.problem_counts[table] <= LISTED:
            self.problems.append(Problem(table, _told(id_), _told(text), remedy))

    def add_note(self, table: str, id_: str, about: str, text: str) -> None:
        """Count a row that is imported otherwise than it stood there, and keep it if it is one of the first."""
        self.note_counts[table, about] += 1
        if self.note_counts[table, about] <= LISTED:
            self.notes.append(Note(table, _told(id_), about, _told(text)))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        notes: dict[str, dict[str, int]] = {}
        for (table, about), count in self.note_counts.items():
            notes.setdefault(table, {})[about] = count
        return {
            "done": self.is_done,
            "imported": self.imported,
            "present": self.present,
            "problems": [problem._asdict() for problem in self.problems],
            "notes": [note._asdict() for note in self.notes],
            "counts": {"problems": dict(self.problem_counts), "notes": notes},
        }


def _told(text: str) -> str:
    return told(safe_to_tell(text))
