"""Answers that go on: server-sent events, ended before the time of their connection is over; the browser asks again.

The limits of `publisher/web/connections.py` hold for these as for all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from time import monotonic

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent

from publisher.web import connections
from publisher.web.console.console import Console
from publisher.web.console.render import HEADERS

LEFT_SECONDS = 8.0
"""Before the end of its connection an answer ends in good order."""
AGAIN_MS = 400
"""After which a browser asks again."""


Sent = ServerSentEvent | bytes
"""An event, or several as they go over the wire: made once for all who get the same."""


class Live(EventSourceResponse):
    """Server-sent events; whoever does not read them is not waited for."""

    def __init__(self, events: AsyncGenerator[Sent, None]) -> None:
        super().__init__(_bounded(events), headers=HEADERS, ping=15, send_timeout=10)

    @staticmethod
    async def _listen_for_exit_signal() -> None:
        """sse-starlette would look twice a second whether uvicorn ends; here `Console.closing` tells at once."""
        await anyio.sleep_forever()


async def pause(console: Console, seconds: float) -> bool:
    """Wait; True when the service ends meanwhile."""
    try:
        async with asyncio.timeout(seconds):
            await console.closing.wait()
    except TimeoutError:
        return False
    return True


async def _bounded(events: AsyncGenerator[Sent, None]) -> AsyncIterator[Sent]:
    ends_at = monotonic() + connections.CONNECTION_SECONDS - LEFT_SECONDS
    yield ServerSentEvent(comment="begin", retry=AGAIN_MS)
    async with aclosing(events):
        async for event in events:
            yield event
            if monotonic() > ends_at:
                return
