"""Somebody who asks without waiting for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats import connect
from nats.aio.msg import Msg

ERROR = "Nats-Service-Error-Code"


class Flood:
    """So many requests at once, and what was answered: the code of each refusal, "" for an answer."""

    def __init__(self, requests: int) -> None:
        self.answers: list[str] = []
        self._requests = requests
        self._all_there = asyncio.Event()

    @property
    def served(self) -> int:
        """How many were answered and not refused."""
        return self.answers.count("")

    async def hear(self, message: Msg) -> None:
        self.answers.append((message.headers or {}).get(ERROR, ""))
        if len(self.answers) == self._requests:
            self._all_there.set()

    async def over(self) -> None:
        """Wait until each request was answered, or refused."""
        await self._all_there.wait()


@asynccontextmanager
async def flood(nats_url: str, subject: str, payload: bytes, requests: int) -> AsyncIterator[Flood]:
    """The same request, so many times, over a connection of its own."""
    client = await connect(nats_url)
    found = Flood(requests)
    inbox = client.new_inbox()
    await client.subscribe(inbox, cb=found.hear)
    for _ in range(requests):
        await client.publish(subject, payload, reply=inbox)
    await client.flush()
    yield found
    await client.close()
