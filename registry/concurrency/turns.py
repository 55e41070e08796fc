"""Places for so many at once, which those who want them take in turn, however many one of them wants."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from registry.concurrency.fair import FairQueue
from registry.errors import Busy

MOST_WAITING = 1000
"""Of one who waits alone; of several, each has an equal part of it, and at least one."""


class Turns:
    """So many places."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue()
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, lane: str, seconds: float) -> AsyncIterator[None]:
        """Have a place in the block. Raises `Busy` when none is free in time, or too many of `lane` wait already."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(lane, seconds)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, lane: str, seconds: float) -> None:
        others = len(self._waiting.keys() - {lane})
        if self._waiting[lane] >= max(MOST_WAITING // (others + 1), 1):
            raise Busy(f"busy: {self._waiting[lane]} of yours wait already; ask again later")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(place, lane)
        self._waiting[lane] += 1
        try:
            async with asyncio.timeout(seconds):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():  # it came at the same moment
                self._pass_on()
            if isinstance(error, TimeoutError):
                raise Busy(f"busy: no turn came within {seconds:g} s; ask again later") from None
            raise
        finally:
            self._waiting[lane] -= 1
            if not self._waiting[lane]:
                del self._waiting[lane]

    def _pass_on(self) -> None:
        """Give a place to whoever's turn it is. Who gave up meanwhile is passed over."""
        while not self._queue.empty():
            place = self._queue.get_nowait()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
