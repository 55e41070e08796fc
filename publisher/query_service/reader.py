"""Rows for answers: read in few bytes, whatever they hold, and no more of them than fit into a message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Self, TypeVar

from pydantic import BaseModel

from registry import exact
from registry.database import Registry
from registry.models import Row

RowT = TypeVar("RowT", bound=Row)

SMALL_BYTES = 64 * 1024
"""Of the large values of a row: one with more is read alone, and one such row at a time."""
MOST_ALONE = 32
"""So many rows are read alone for one answer, which is to be there in seconds."""


def encoded(answer: BaseModel) -> bytes:
    """An answer, or a row of one, as it is sent."""
    return exact.dumps(answer.model_dump(warnings=False))


class Reader:
    """Reads rows for one answer of at most `room` bytes; its block ends when the answer is sent.

    Large rows are read over a connection of their own, `large`: libpq keeps room for the largest value it ever met, for
    each connection. And whoever has begun to read one has his `turn` until the answer is out, so that the process holds
    one answer of such rows at a time, however many are asked for.
    """

    def __init__(self, registry: Registry, large: Registry, room: int, turn: asyncio.Lock) -> None:
        self.registry = registry
        self._large = large
        self._room = room
        self._turn = turn
        self.has_turn = False
        """Whether it has read a large row."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.has_turn:
            self._turn.release()

    def share(self, rows: int) -> int:
        """The most bytes that the large values of each of so many rows may have, read together."""
        return min(self._room // rows, SMALL_BYTES)

    async def one(self, read: Callable[[Registry, int], Awaitable[RowT | None]]) -> RowT | None:
        """The row that `read` finds, given the most bytes its large values may have; shortened when it has no room."""
        row = await read(self.registry, min(SMALL_BYTES, self._room))
        if row is None or not is_shortened(row):
            return row
        return await read(await self._in_turn(), self._room)

    async def some(
        self, rows: Sequence[RowT], read: Callable[[Registry, RowT, int], Awaitable[RowT | None]], *, is_page: bool
    ) -> list[RowT]:
        """Those of `rows` that fit into an answer, read again where they are shortened.

        Where they are a page, it ends before the first one that does not fit, which there is at least one of; else such
        a row is left shortened. So is one that fits into no answer.
        """
        found: list[RowT] = []
        room, alone = self._room, 0
        for row in rows:
            whole = row
            if is_shortened(row) and alone < MOST_ALONE:
                alone += 1
                whole = await read(await self._in_turn(), row, room) or row
                if is_shortened(whole) and is_page and found:
                    return found
            elif is_shortened(row) and is_page:
                return found
            size = len(encoded(whole)) + 1
            if size > room and is_page and found:
                return found
            if size > room:
                whole, size = row, len(encoded(row)) + 1
            found.append(whole)
            room -= size
        return found

    async def _in_turn(self) -> Registry:
        """Where a large row is read, once it is this answer's turn."""
        if not self.has_turn:
            self.has_turn = await self._turn.acquire()
        return self._large


def is_shortened(row: BaseModel) -> bool:
    """Whether a row, or an answer that is one, is not told whole."""
    return bool(getattr(row, "is_shortened", False))
