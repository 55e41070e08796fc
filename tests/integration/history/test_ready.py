"""When the service says that it is ready, it answers everything it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from nats.aio.client import Client

from publisher import service
from publisher.history import service as history
from registry.client.snapshot import take_snapshot
from tests.support.world import World


async def test_right_behind_ready_a_snapshot_and_a_replay_are_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_ready = asyncio.Event()
    steps: list[str] = []
    connect = history.connect_nats

    @asynccontextmanager
    async def connect_last(*arguments: Any, **options: Any) -> AsyncIterator[Client]:
        """The connection of the history service, made long after the rest of the service has settled."""
        with suppress(TimeoutError):
            await asyncio.wait_for(is_ready.wait(), timeout=1)  # which would be too early: nobody answers yet
        async with connect(*arguments, **options) as client:
            steps.append("history connects")
            yield client

    async def ask() -> None:
        is_ready.set()
        steps.append("ready")
        await take_snapshot(world.nats, world.profile)
        await world.replayed()

    monkeypatch.setattr(history, "connect_nats", connect_last)
    await service.serve(world.settings(http_port=0), work=ask)

    assert steps == ["history connects", "ready"]
