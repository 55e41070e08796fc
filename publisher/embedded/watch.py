"""Looks after the embedded servers of a running service: one that dies is started again, and that is told."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from time import monotonic

from prometheus_client import CollectorRegistry

from publisher.embedded.supervised import Supervised
from publisher.health import Health
from registry.concurrency.ticks import tick
from registry.errors import Unavailable
from registry.log import log

WATCH_SECONDS = 0.5
TOLD_SECONDS = 3600.0
"""For so long after a death it is told that there was one."""
MOST_TOLD = 5


class ServersHealth(Health):
    """Which of the embedded servers is away, and which was."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(
            "embedded_servers", registry, interruptions="Times an embedded server died and was to be started again"
        )
        self._away: dict[str, str] = {}
        self._told: deque[tuple[float, str]] = deque(maxlen=MOST_TOLD)

    def died(self, name: str, reason: str) -> None:
        """Note that a server died, which is to be started again now."""
        at = datetime.now(UTC).strftime("%H:%M:%S UTC")
        self._away[name] = f"{name} died at {at}: {reason}"
        self.failed(Unavailable(f"{name} ended: {reason}"), "embedded server died")

    def is_back(self, name: str) -> None:
        """Note that it runs again."""
        self._told.append((monotonic(), self._away.pop(name)))
        if not self._away:
            self.well()

    def problems(self) -> list[str]:
        """One sentence for each that is away."""
        return [f"{died}; it is being started again" for died in self._away.values()]

    def notes(self) -> list[str]:
        """One sentence for each that was away."""
        return [f"{died}; it was started again" for at, died in self._told if monotonic() - at < TOLD_SECONDS]

    def to_do(self) -> str:
        """What to do about a server that does not answer."""
        return (
            "Nothing to do: imi-registry up starts it again by itself, and what waits goes on. If it dies over and "
            "over, its log in the state directory says why."
        )


async def watched(server: Supervised, health: ServersHealth) -> None:
    """Have `server` started again whenever it is dead, until cancelled.

    Raises `Unavailable` when that is in vain, `Unusable` when its folder is no longer at its place.
    """
    while True:
        while server.is_running():  # the end of another process is no event of this loop
            server.check_place()
            await tick(WATCH_SECONDS)
        began = monotonic()
        health.died(server.name, server.exit_reason())
        try:
            await asyncio.to_thread(server.revive)
        except asyncio.CancelledError:
            server.give_up()  # the thread goes on until it is told so
            raise
        health.is_back(server.name)
        log.info("embedded server started again", server=server.name, seconds=round(monotonic() - began, 1))
