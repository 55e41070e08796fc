"""What an import did, would do, and leaves to a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


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
    text: str


@dataclass
class Report:
    """Of one import."""

    imported: dict[str, int] = field(default_factory=dict)
    """New rows by table of the registry."""
    present: dict[str, int] = field(default_factory=dict)
    """Rows that were there already, by id or origin, and were left as they are."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    is_done: bool = False
    """Whether anything was written."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "done": self.is_done,
            "imported": self.imported,
            "present": self.present,
            "problems": [problem._asdict() for problem in self.problems],
            "notes": [note._asdict() for note in self.notes],
        }
