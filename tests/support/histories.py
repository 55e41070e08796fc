"""The publisher's history service inside the test's own event loop, and what a replay tells, as a list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.client import Client

from publisher.history.service import HistoryService
from publisher.settings import Settings, load, profile_of
from registry.client.replay import replay
from registry.history.pages import Replayed
from registry.position import Start
from registry.profiles import bloodbank


@asynccontextmanager
async def running_history(settings: Settings) -> AsyncIterator[None]:
    """A history service that answers inside the block."""
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(HistoryService(settings).run(ready=ready))
        async with asyncio.timeout(20):
            await ready.wait()
        yield
        running.cancel()


async def replayed(client: Client, prefix: str, start: Start | None = None, **wanted: Any) -> list[Replayed]:
    """Everything that a replay tells until it has caught up."""
    async with asyncio.timeout(30), replay(client, profile_of(load(prefix=prefix)), start, **wanted) as events:
        return [event async for event in events]


def stream_of(prefix: str) -> str:
    """Name of the event stream, in the profile of the environment."""
    return profile_of(load(prefix=prefix)).event_stream


async def create_shared_stream(client: Client) -> None:
    """The stream that others create, where the profile of the environment has one."""
    if profile_of(load()).is_shared:
        await client.jetstream().add_stream(name=bloodbank.STREAM, subjects=["bloodbank.evt.>"])


async def delete_stream(client: Client, prefix: str) -> None:
    """Let the event stream be lost; where others own it, they create it anew."""
    await client.jetstream().delete_stream(stream_of(prefix))
    await create_shared_stream(client)


def foreign_subject(prefix: str) -> str:
    """A subject of the event stream on which somebody else may publish."""
    is_shared = profile_of(load()).is_shared
    return "bloodbank.evt.workspace.project.updated" if is_shared else f"{prefix}.evt.v1.project.updated.-"


async def trim(client: Client, prefix: str, first: int) -> None:
    """Let the event stream begin at sequence `first`, as its limits do."""
    await client.jetstream().purge_stream(stream_of(prefix), seq=first)
