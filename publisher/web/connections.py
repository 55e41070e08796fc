"""Connections of the HTTP server: so many at most, each for so long, whatever comes over them.

uvicorn has no time limit for a request that does not come to its end, and answers those beyond `limit_concurrency`
instead of closing them. So each connection has its time here, and where too many are open the one that has waited
longest for its request makes room: who sends a whole request is heard.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 256
REQUEST_SECONDS = 5.0
"""For a request to come, from the beginning of its connection or from the answer to the one before."""
CONNECTION_SECONDS = 60.0
"""For all of a connection: an answer that nobody takes is not kept for longer."""


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol with these limits."""

    opened_at = 0.0
    _ends: asyncio.TimerHandle | None = None
    _gives_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Make room for the connection, and start its time."""
        self._make_room()
        super().connection_made(transport)
        self.opened_at = self.loop.time()
        self._ends = self.loop.call_later(CONNECTION_SECONDS, transport.abort)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """Let an answer have the time of its request as its date, of which uvicorn reads the clock in its main loop."""
        self.server_state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop its time."""
        for timer in (self._ends, self._gives_up):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Start the time for the next request."""
        super().on_response_complete()
        self._await_request()

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _await_request(self) -> None:
        if self._gives_up is not None:
            self._gives_up.cancel()
        self._gives_up = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self.is_waiting:
            self.transport.abort()

    def _make_room(self) -> None:
        """Where too many are open, close the one that waits longest for a request, or else the oldest."""
        if len(self.connections) < MOST_CONNECTIONS:
            return
        others = [
            one for one in self.connections if isinstance(one, LimitedProtocol) and not one.transport.is_closing()
        ]
        if len(others) >= MOST_CONNECTIONS:
            waiting = [one for one in others if one.is_waiting]
            min(waiting or others, key=lambda one: one.opened_at).transport.abort()
