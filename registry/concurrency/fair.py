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
        self._turns: deque[str] = deque()
        """Lanes that have something, in the order in which they are served."""
        self._waiting = asyncio.Semaphore(0)

    def put(self, item: T, lane: str) -> None:
        """Put `item` at the end of its lane."""
        if lane not in self._lanes:
            self._lanes[lane] = deque()
            self._turns.append(lane)
        self._lanes[lane].append(item)
        self._waiting.release()

    async def get(self) -> T:
        """Wait for an item, and take it."""
        await self._waiting.acquire()
        lane = self._turns.popleft()
        items = self._lanes[lane]
        item = items.popleft()
        if items:
            self._turns.append(lane)
        else:
            del self._lanes[lane]
        return item

    def is_empty(self) -> bool:
        """Whether there is nothing that `get` would give without waiting."""
        return self._waiting.locked()
