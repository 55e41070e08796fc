"""How the relay rests: it waits for the doorbell, and at each heartbeat it looks whether a ring was lost.

While nothing waits nothing is polled, and a heartbeat is one statement: docs/adr/0022-rest.md.
"""

from __future__ import annotations

from publisher.outbox.cursor import beat_at_rest
from publisher.outbox.doorbell import Doorbell, set_doorbell
from publisher.relay.term import Term
from registry.concurrency.ticks import until_tick
from registry.errors import Unavailable

GAP_POLL_SECONDS = (0.001, 0.1)
"""First and longest wait while ids are in flight: a long transaction's own events are that late at worst."""


class Rest:
    """Of one drain."""

    def __init__(self, term: Term, doorbell: Doorbell) -> None:
        self._term = term
        self._doorbell = doorbell
        self._poll_seconds = GAP_POLL_SECONDS[0]
        self.is_armed = False
        """Whether the doorbell was set."""

    async def arm(self) -> None:
        """Set the doorbell. An id handed out before did not ring it: what is to rest looks once more."""
        await set_doorbell(self._term.conn, is_armed=True)
        self.is_armed = True

    async def silence(self) -> None:
        """Let writers pay nothing for a doorbell while nobody rests."""
        if self.is_armed:
            await set_doorbell(self._term.conn, is_armed=False)
            self.is_armed = False

    async def until_news(self, unseen: int) -> None:
        """Nothing is missing below id `unseen`: return when something may be there from it on.

        Raises `Deposed`, `Unavailable`.
        """
        with self._term.heartbeat.resting():
            while not await self._doorbell.rung(until_tick(self._term.settings.heartbeat_seconds)):
                self._check_stream()
                if not await beat_at_rest(self._term.conn, self._term.cursor, unseen):
                    return
        self._check_stream()

    async def while_missing(self) -> None:
        """Ids are handed out and not visible: return when one may be, which no doorbell tells of one below others."""
        seconds = min(self._poll_seconds, self._term.settings.heartbeat_seconds)
        self._poll_seconds = min(self._poll_seconds * 2, GAP_POLL_SECONDS[1])
        with self._term.heartbeat.resting():
            await self._doorbell.rung(seconds)
        self._check_stream()

    def found_rows(self) -> None:
        """Note that there were events: the next wait for missing ids is a short one."""
        self._poll_seconds = GAP_POLL_SECONDS[0]

    def _check_stream(self) -> None:
        if not self._term.stream.is_connected:
            raise Unavailable(f"the connection to stream {self._term.stream.name} was lost")
