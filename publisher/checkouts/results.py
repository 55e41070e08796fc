"""What a sync did, for people and for `--json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from publisher.checkouts.run_git import printable

Outcome = Literal["registered", "updated", "unchanged", "retired", "skipped", "failed"]
Kind = Literal["project", "branch", "worktree", "folder"]


@dataclass(frozen=True)
class Result:
    """What became of one project, or its default branch (then `path` is its trunk), or worktree.

    `detail` says why, or what changed.
    """

    path: str
    kind: Kind
    outcome: Outcome
    detail: str = ""


class Report:
    """The results of one pass, in the order in which they came."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def add(self, path: str | Path, kind: Kind, outcome: Outcome, detail: str = "") -> None:
        """One more result."""
        self.results.append(Result(printable(path), kind, outcome, detail))

    def add_change(self, path: str | Path, kind: Kind, before: BaseModel, after: BaseModel, fields: set[str]) -> None:
        """One more that was known: updated when one of `fields` differs."""
        names = [name for name in type(before).model_fields if name in fields]
        changed = [name for name in names if getattr(before, name) != getattr(after, name)]
        self.add(path, kind, "updated" if changed else "unchanged", ", ".join(changed))
