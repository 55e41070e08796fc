"""Durable subscriptions in tests: one for a block, changes that make events, and a handler that notes them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from registry.client import Delivery, RegistryClient
from registry.concurrency.tasks import end


@asynccontextmanager
async def subscribed(client: RegistryClient, handler: Any, **options: Any) -> AsyncIterator[None]:
    """A subscription for the block. An error that ends it fails the test."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(client.subscribe(handler, **options))
        try:
            yield
        finally:
            await end([running])


CHANGE = """
INSERT INTO projects (name, remote_origin, trunk_path) VALUES (%s, %s, '/code')
ON CONFLICT (remote_origin) DO UPDATE SET name = EXCLUDED.name
"""


def change_projects(database: str, changes: int, projects: int = 4) -> None:
    """`changes` changes, spread over some projects."""
    with psycopg.connect(database, autocommit=True) as conn:
        for number in range(changes):
            origin = f"git@github.com:a/p{number % projects}.git"
            conn.execute(CHANGE, [f"name-{number}", origin])


class Seen:
    """A handler that notes what it gets; `until` waits for so many different events."""

    def __init__(self) -> None:
        self.sequences: dict[str | None, list[int]] = defaultdict(list)
        self._changed = asyncio.Event()

    async def __call__(self, delivery: Delivery) -> None:
        self.note(delivery)

    def note(self, delivery: Delivery) -> None:
        self.sequences[delivery.project_id].append(delivery.sequence)
        self._changed.set()

    @property
    def distinct(self) -> set[int]:
        return {sequence for sequences in self.sequences.values() for sequence in sequences}

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.distinct) < count:
                self._changed.clear()
                await self._changed.wait()

    def assert_in_order(self) -> None:
        for sequences in self.sequences.values():
            assert sequences == sorted(sequences)
