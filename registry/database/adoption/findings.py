"""What an upgrade of the original schema changes, and what a person has to decide before."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from registry.errors import Conflict


@dataclass(frozen=True)
class Change:
    """One field of one row that becomes another."""

    table: str
    id: str
    name: str
    """What the row is called; of an activity, its agent."""
    field: str
    old: Any
    new: Any
    rule: str
    """Why."""


@dataclass(frozen=True)
class Decision:
    """What the upgrade cannot know: somebody changes it, or says which way, and runs it again."""

    table: str
    id: str
    """Of the row; empty where it is about the table."""
    name: str
    problem: str
    how: str
    """The ways out, mostly an SQL statement."""


@dataclass
class Plan:
    """All that was found."""

    changes: list[Change] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    """Functions, views and triggers under the names of ours that are not ours; of the original all are."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "changes": [asdict(change) for change in self.changes],
            "decisions": [asdict(decision) for decision in self.decisions],
            "replaced": self.replaced,
        }


class Undecided(Conflict):
    """The upgrade waits for decisions; nothing was changed."""

    def __init__(self, database: str, found: Plan) -> None:
        number = len(found.decisions)
        noun = "decision is" if number == 1 else "decisions are"
        super().__init__(
            f"database {database} has the original schema 2.0.0, and {number} {noun} open; nothing was changed; "
            "list them with: imi-registry migrate up --dry-run"
        )
        self.plan = found
