"""Connections of the HTTP server: so many at most, and so long for each request, whatever comes over them.

uvicorn has no time limit for a request that does not come to its end, and answers those beyond `limit_concurrency`
instead of closing them. So each request has its time here, and where too many are open the one that has waited
longest for its request makes room: who sends a whole request is heard.

It also begins with all requests that have come before anything else in the process goes on: with 300 connections that
asked for anything without end, be it `/readyz`, each event waited for seconds. Here they stand in line, and between two
the event loop goes round: an event waits for one at a time.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from registry.authority import address_of

MOST_CONNECTIONS = 256
REQUEST_SECONDS = 5.0
"""For a request to come, from the beginning of its connection or from the answer to the one before."""
CONNECTION_SECONDS = 60.0
"""For a request and its answer, from when it has come: an answer that nobody takes is not kept for longer."""
WAITS = "waits"
"""Is set in the state of a request while an application lets it wait for others."""


class Line:
    """Connections of which something is to be read, each when its turn comes: one in each round of the event loop."""

    def __init__(self) -> None:
        self._waiting: dict[LimitedProtocol, None] = {}
        self._is_moving = False

    def join(self, connection: LimitedProtocol) -> None:
        """Let `connection` read when all have had their turn that are in line; it keeps a place that it has."""
        self._waiting[connection] = None
        if not self._is_moving:
            self._is_moving = True
            connection.loop.call_soon(self._move)

    def __contains__(self, connection: LimitedProtocol) -> bool:
        return connection in self._waiting

    def _move(self) -> None:
        self._is_moving = bool(self._waiting)
        if self._waiting:
            connection = next(iter(self._waiting))
            del self._waiting[connection]
            connection.loop.call_soon(self._move)
            connection.read_events()


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol with these limits."""

    def __init__(self, *arguments: Any, line: Line, **named: Any) -> None:
        """`line` is the one of all connections of a server; the rest is uvicorn's."""
        super().__init__(*arguments, **named)
        self._line = line

    opened_at = 0.0
    _ends: asyncio.TimerHandle | None = None
    _gives_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Make room for the connection, and start its time."""
        self._make_room()
        super().connection_made(transport)
        if self.client is not None:  # who comes by IPv4 to a socket of both has an address of IPv6
            self.client = (str(address_of(self.client[0]) or self.client[0]), self.client[1])
        self.opened_at = self.loop.time()
        self._begin_time()
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """Let an answer have the time of its request as its date, of which uvicorn reads the clock in its main loop."""
        self.server_state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        super().data_received(data)

    def handle_events(self) -> None:
        """Get in line with what has come; no more is taken in meanwhile."""
        self.flow.pause_reading()
        self._line.join(self)

    def read_events(self) -> None:
        """Read what has come, and begin with a request that is whole; not on a connection that made room meanwhile."""
        if not self.transport.is_closing():
            before = self.cycle
            self.flow.resume_reading()
            super().handle_events()
            if self.cycle is not before:  # however old the connection is: what is cut off, a browser sends again
                self._begin_time()

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
        """Whether no request has come that is not answered yet."""
        return (self.cycle is None or self.cycle.response_complete) and self not in self._line

    def _begin_time(self) -> None:
        if self._ends is not None:
            self._ends.cancel()
        self._ends = self.loop.call_later(CONNECTION_SECONDS, self.transport.abort)

    def _await_request(self) -> None:
        if self._gives_up is not None:
            self._gives_up.cancel()
        self._gives_up = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self.is_waiting:
            self.transport.abort()

    def _make_room(self) -> None:
        """Where too many are open, close the oldest of those that are needed least."""
        if len(self.connections) < MOST_CONNECTIONS:
            return
        others = [
            one for one in self.connections if isinstance(one, LimitedProtocol) and not one.transport.is_closing()
        ]
        if len(others) >= MOST_CONNECTIONS:
            min(others, key=lambda one: (one._need(), one.opened_at)).transport.abort()

    def _need(self) -> int:
        """0 while no request has come, 1 while one waits for its turn, 2 while one is being answered."""
        if self.is_waiting:
            return 0
        return 1 if self.scope is not None and self.scope["state"].get(WAITS) else 2
