"""A snapshot: projects, worktrees and types as of one position of the event history; the events behind it follow.

The publisher reads all tables in one database snapshot, together with what is published and what is visible there; so
state and position belong together exactly (docs/adr/0006-history.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from registry import exact
from registry.errors import RegistryError
from registry.history.pages import NOT_READ
from registry.history.state import State
from registry.models import Project, Worktree, WorktreeType
from registry.position import Position
from registry.profiles.profile import Profile

PROJECT, WORKTREE, WORKTREE_TYPE, END = b"p", b"w", b"t", b"."
"""What the lines of a snapshot behind the first one begin with."""


@dataclass
class Snapshot(State):
    """The state at one position. `replay(…, After(snapshot.position))` gives the events behind it."""

    position: Position = field(default_factory=lambda: Position(0))

    def put_line(self, line: bytes) -> None:
        """Take one row as the publisher sends it. Raises `RegistryError` for a line that is none."""
        try:
            kind, fields = line[:1], exact.loads(line[1:])
            if kind == PROJECT:
                self.put_project(Project.model_validate(fields))
            elif kind == WORKTREE:
                self.put_worktree(Worktree.model_validate(fields))
            else:
                self.put_type(WorktreeType.model_validate(fields))
        except NOT_READ as error:
            raise RegistryError("snapshot: a row is none that this version knows") from error


async def whole_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a text that comes in pieces, without their ends. What is behind the last end is no line."""
    begun: list[bytes] = []
    async for piece in pieces:
        end, *lines = piece.split(b"\n")
        begun.append(end)
        if not lines:
            continue
        yield b"".join(begun)
        for line in lines[:-1]:
            yield line
        begun = [lines[-1]]


def snapshot_subject(profile: Profile) -> str:
    """Where the publisher answers with a snapshot: chunks of lines, each to be confirmed by an empty answer."""
    return f"{profile.requests}.snapshot"
