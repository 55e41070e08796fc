"""A table that somebody has locked: who asks for the history over NATS is told by whom."""

from __future__ import annotations

import psycopg
import pytest

from registry.client import replay as reading
from registry.client.lookup import find_event
from registry.client.snapshot import take_snapshot
from registry.errors import Unavailable
from tests.support.world import World


async def test_who_asks_for_the_history_is_told_who_has_locked_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0.1)
    async with world.relay():
        world.write(1)
        await world.drained()
    await world.trim(3)
    async with world.history():
        with psycopg.connect(world.database, application_name="psql of Ada") as stranger:
            stranger.execute("LOCK TABLE outbox, projects")
            told = (
                f'pid {stranger.info.backend_pid} \\(application "psql of Ada", user .* has locked .*outbox.*: end that'
            )
            with pytest.raises(Unavailable, match=told):
                await find_event(world.nats, world.profile, 1)
            with pytest.raises(Unavailable, match=told):
                await take_snapshot(world.nats, world.profile)
        assert (await find_event(world.nats, world.profile, 1)).position.sequence == 1
