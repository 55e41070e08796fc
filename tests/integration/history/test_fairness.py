"""Who asks for the history without end keeps nobody else waiting, and hears an answer to each request."""

from __future__ import annotations

import asyncio

import pytest

from publisher.history.service import CONNECTIONS, SNAPSHOTS_AT_ONCE
from registry.client.history import HistoryPages
from registry.client.snapshot import take_snapshot
from registry.events.filter import EventFilter
from registry.history.pages import HistoryRequest, history_subject
from registry.history.snapshot import snapshot_subject
from registry.position import Position
from tests.support.client.flood import flood
from tests.support.histories import write
from tests.support.world import World

FLOOD, FEW = 3_000, 4
ALL = (Position(0), Position(10), EventFilter())
NEVER = HistoryRequest(Position(0), Position(10**12), EventFilter())
"""It waits for a sequence that is far away."""


async def test_who_floods_the_history_is_busy_and_others_are_answered_in_turn(world: World) -> None:
    write(world.database, projects=5, worktrees=5)
    async with world.relay():
        await world.drained()

    subject, request = history_subject(world.profile), HistoryRequest(*ALL).encode()
    async with world.history(), flood(world.nats_url, subject, request, FLOOD) as flooding:
        for _ in range(FEW):
            page = await HistoryPages(world.nats, world.profile, *ALL).next()
            assert page is not None
            assert page.events
        served_before = flooding.served
        await flooding.over()

    assert served_before < FLOOD / 5
    assert set(flooding.answers) <= {"", "503"}


async def test_who_asks_for_what_is_never_recorded_keeps_nobody_waiting_for_more_than_its_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.history.service.RECORDED_SECONDS", 0.2)
    monkeypatch.setattr("publisher.history.service.TURN_SECONDS", 60.0)
    write(world.database, projects=5, worktrees=5)
    async with world.relay():
        await world.drained()

    subject, requests = history_subject(world.profile), 60
    async with world.history(), flood(world.nats_url, subject, NEVER.encode(), requests) as flooding:
        for _ in range(FEW):
            page = await HistoryPages(world.nats, world.profile, *ALL).next()
            assert page is not None
        refused_before = len(flooding.answers)
        await flooding.over()

    assert refused_before <= (FEW + 1) * CONNECTIONS
    assert set(flooding.answers) == {"503"}


async def test_who_begins_snapshots_and_confirms_none_of_their_chunks_leaves_room_for_those_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.history.service.SNAPSHOT_TURN_SECONDS", 2.0)  # and a chunk is waited for for ten
    write(world.database, projects=5, worktrees=5)
    async with world.relay():
        await world.drained()

    subject, requests = snapshot_subject(world.profile), 3 * SNAPSHOTS_AT_ONCE
    async with world.history(), flood(world.nats_url, subject, b"", requests) as flooding:
        while flooding.served < SNAPSHOTS_AT_ONCE - 1:  # each has its first chunk
            await asyncio.sleep(0.01)
        for _ in range(FEW):
            snapshot = await take_snapshot(world.nats, world.profile)
            assert len(snapshot.projects) == 5
