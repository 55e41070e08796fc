"""Places for so many at once, which those who want them take in turn, however many one of them wants."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from registry.concurrency.fair import FairQueue
from registry.errors import Busy

MOST_WAITING = 1000
"""Of one who waits alone; of several, each has an equal part of it, and at least one, up to twice as many of all."""


class Turns:
    """So many places, of which no lane has the last one, unless there is one alone: who holds on holds few up."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._most = max(places - 1, 1)
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue()
        self._own: dict[str, asyncio.Semaphore] = {}
        """The places that each lane may have, of those that are here."""
        self._here: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, lane: str, seconds: float) -> AsyncIterator[None]:
        """Have a place in the block. Raises `Busy` when none is free in time, or too many of `lane` wait already."""
        own = self._own.setdefault(lane, asyncio.Semaphore(self._most))
        self._here[lane] += 1
        try:
            await self._wait(lane, own, seconds)
            try:
                yield
            finally:
                self._pass_on()
                own.release()
        finally:
            self._here[lane] -= 1
            if not self._here[lane]:
                del self._here[lane], self._own[lane]

    async def _wait(self, lane: str, own: asyncio.Semaphore, seconds: float) -> None:
        others = len(self._waiting.keys() - {lane})
        must_wait = own.locked() or not self._free
        if must_wait and self._waiting[lane] >= max(MOST_WAITING // (others + 1), 1):
            raise Busy(f"busy: {self._waiting[lane]} of yours wait already; ask again later")
        if must_wait and self._waiting.total() >= 2 * MOST_WAITING:
            raise Busy("busy: too many wait already; ask again later")
        self._waiting[lane] += 1
        try:
            async with asyncio.timeout(seconds), _kept(own):
                await self._place(lane)
        except TimeoutError:
            raise Busy(f"busy: no turn came within {seconds:g} s; ask again later") from None
        finally:
            self._waiting[lane] -= 1
            if not self._waiting[lane]:
                del self._waiting[lane]

    async def _place(self, lane: str) -> None:
        if self._free:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(place, lane)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled():  # it came at the same moment
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Give a place to whoever's turn it is. Who gave up meanwhile is passed over."""
        while not self._queue.empty():
            place = self._queue.get_nowait()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


@asynccontextmanager
async def _kept(own: asyncio.Semaphore) -> AsyncIterator[None]:
    """Take one of `own` and keep it, unless the block fails."""
    await own.acquire()
    try:
        yield
    except BaseException:
        own.release()
        raise
