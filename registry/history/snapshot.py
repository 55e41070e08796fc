"""A snapshot: projects, worktrees and types as of one position of the event history; the events behind it follow.

The publisher reads all tables in one database snapshot, together with what is published and what is visible there; so
state and position belong together exactly (docs/adr/0006-history.md).
"""

from __future__ import annotations

import gc
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from registry import exact
from registry.errors import RegistryError
from registry.history.pages import NOT_READ
from registry.history.state import State
from registry.models import Project, Row, Worktree, WorktreeType
from registry.position import Position
from registry.profiles.profile import Profile

PROJECT, WORKTREE, WORKTREE_TYPE, END = b"p", b"w", b"t", b"."
"""What the lines of a snapshot behind the first one begin with."""
NO_METADATA = b'"metadata":{}'
_FRACTION = re.compile(rb'(?:":|\[|,)\s*-?[0-9]+[.eE]')
"""A number that may have other digits as a double. A text that looks like one is taken for one, which is harmless."""

RowT = TypeVar("RowT", bound=Row)


@dataclass
class Snapshot(State):
    """The state at one position. `replay(…, After(snapshot.position))` gives the events behind it."""

    position: Position = field(default_factory=lambda: Position(0))

    def put_lines(self, lines: Iterable[bytes]) -> None:
        """Take rows, as `put_line` does each.

        The collector rests meanwhile: it would look at all rows again and again, which hold no cycles, for a quarter of
        the time.
        """
        is_collecting = gc.isenabled()
        gc.disable()
        try:
            for line in lines:
                self.put_line(line)
        finally:
            if is_collecting:
                gc.enable()

    def put_line(self, line: bytes) -> None:
        """Take one row as the publisher sends it. Raises `RegistryError` for a line that is none."""
        try:
            kind, text = line[:1], line[1:]
            if kind == PROJECT:
                self.put_project(_row(Project, text))
            elif kind == WORKTREE:
                self.put_worktree(_row(Worktree, text))
            else:
                self.put_type(_row(WorktreeType, text))
        except NOT_READ as error:
            raise RegistryError("snapshot: a row is none that this version knows") from error


def _row(model: type[RowT], text: bytes) -> RowT:
    """A row out of its JSON, with every digit of the numbers in its metadata.

    Pydantic alone needs half the time, and makes doubles of fractions: it reads the rows that have none.
    """
    if NO_METADATA in text or not _FRACTION.search(text):
        try:
            return model.model_validate_json(text)
        except ValidationError:
            pass  # an integer of thousands of digits; or no row, as is said below
    return model.model_validate(exact.loads(text))


async def whole_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a text that comes in pieces, without their ends. What is behind the last end is no line."""
    async for lines in grouped_lines(pieces):
        for line in lines:
            yield line


async def grouped_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """The same, those together that end in one piece."""
    begun: list[bytes] = []
    async for piece in pieces:
        end, *lines = piece.split(b"\n")
        begun.append(end)
        if not lines:
            continue
        yield [b"".join(begun), *lines[:-1]]
        begun = [lines[-1]]


def snapshot_subject(profile: Profile) -> str:
    """Where the publisher answers with a snapshot: chunks of lines, each to be confirmed by an empty answer."""
    return f"{profile.requests}.snapshot"
