"""Dead letters in tests: a handler that fails on some events, and the letters that they become."""

from __future__ import annotations

import asyncio

from registry.client import Delivery, RegistryClient
from registry.dead_letters import DeadLetter
from registry.errors import NotFound
from tests.support.client.subscriptions import Seen

DURABLE = "d"


class Choosy(Seen):
    """A handler that fails on some events while it refuses them."""

    def __init__(self, *refused: int) -> None:
        super().__init__()
        self.refused = set(refused)
        self.tries: list[int] = []
        self.redelivered: list[int] = []

    async def __call__(self, delivery: Delivery) -> None:
        self.tries.append(delivery.sequence)
        if delivery.sequence in self.refused:
            raise ValueError(f"cannot take {delivery.sequence}, try {len(self.tries)}")
        if delivery.is_redelivered:
            self.redelivered.append(delivery.sequence)
        self.note(delivery)


async def letters(client: RegistryClient, count: int, durable: str = DURABLE) -> list[DeadLetter]:
    """The dead letters, once there are so many."""
    async with asyncio.timeout(20):
        while True:
            try:
                found = [letter async for letter in client.dead_letters.find(durable)]
            except NotFound:  # not subscribed yet
                found = []
            if len(found) == count:
                return found
            await asyncio.sleep(0.02)
