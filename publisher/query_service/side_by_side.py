"""Reading on while somebody is answered, so that whoever asks much keeps nobody waiting but himself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from registry.concurrency.tasks import end
from registry.log import log

ABOUT_THE_SERVICE = "$SRV."
"""What the subjects begin with on which a micro service tells of itself."""
MOST_WAITING = 100
"""Of such requests, on each of its subjects; what comes beyond is not answered. Told is all that it offers, every time
anew: tens of kB for a request of no byte."""


@asynccontextmanager
async def side_by_side(client: Client) -> AsyncIterator[Client]:
    """`client`, with subscriptions whose messages are handled side by side: nats-py handles one after the other."""
    answering = _SideBySide(client)
    try:
        yield cast("Client", answering)
    finally:
        answering.is_over = True
        await end(answering.tasks)


class _SideBySide:
    def __init__(self, client: Client) -> None:
        self._client = client
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_over = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def subscribe(self, subject: str, queue: str = "", *, cb: Callable[[Msg], Awaitable[None]]) -> Any:
        """As the client's; what is handled at the same time is for `cb` to bound.

        Not so what the service tells of itself, which nobody takes turns for: one after the other, and few that wait.
        """
        if subject.startswith(ABOUT_THE_SERVICE):
            return await self._client.subscribe(subject, queue=queue, cb=cb, pending_msgs_limit=MOST_WAITING)

        async def handle(message: Msg) -> None:
            try:
                await cb(message)
            except (nats.errors.Error, ValueError) as error:  # it wants no answer, or is gone
                log.debug("query not answered", subject=subject, reason=str(error))

        async def begin(message: Msg) -> None:
            if self.is_over:
                return
            task = asyncio.create_task(handle(message))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

        return await self._client.subscribe(subject, queue=queue, cb=begin)
