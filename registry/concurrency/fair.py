"""A queue whose takers serve everybody in turn, however much one of them has put in."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items of several lanes: those of one lane leave in the order they came in, the lanes take turns."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[T]] = {}
        self._next: deque[str] = deque()
        """Lanes that have something, in the order in which they are served."""
        self._there: asyncio.Queue[None] = asyncio.Queue()
        """One for each item: who waits, waits for these."""

    def put(self, item: T, lane: str) -> None:
        """Put `item` at the end of its lane."""
        if lane not in self._lanes:
            self._lanes[lane] = deque()
            self._next.append(lane)
        self._lanes[lane].append(item)
        self._there.put_nowait(None)

    async def get(self) -> T:
        """Wait for an item, and take it."""
        await self._there.get()
        return self._take()

    def get_nowait(self) -> T:
        """Take an item; the queue is not empty."""
        self._there.get_nowait()
        return self._take()

    def empty(self) -> bool:
        """Whether there is nothing to take now."""
        return self._there.empty()

    def _take(self) -> T:
        lane = self._next.popleft()
        items = self._lanes[lane]
        item = items.popleft()
        if items:
            self._next.append(lane)
        else:
            del self._lanes[lane]
        return item
