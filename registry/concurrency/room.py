"""Room for things of different sizes: while there is much, what comes waits outside."""

from __future__ import annotations

import asyncio


class Room:
    """Room for things of `most` together, and for one more of any size."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._left = asyncio.Event()

    async def wait(self) -> None:
        """Wait until something may come in."""
        while self._taken > self._most:
            self._left.clear()
            await self._left.wait()

    def enter(self, size: int) -> None:
        """Take something in."""
        self._taken += size

    def leave(self, size: int) -> None:
        """Let go of something that was taken in."""
        self._taken -= size
        self._left.set()
