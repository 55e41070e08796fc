"""A replay watched by a person: the bar on the terminal while the events go elsewhere, and the original pace."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from pathlib import Path
from time import monotonic

import orjson
import psycopg
import pytest

from publisher.cli.terminal.replay import at_original_pace
from registry.client.replay import replay
from tests.support.cli.terminals import lines_of, on_terminal
from tests.support.world import World

EVENTS = 1200


@pytest.fixture
async def history(world: World) -> dict[str, str]:
    """A published history of `EVENTS` events; yields the settings of a command that reads it."""
    with psycopg.connect(world.database) as conn:
        query = "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) SELECT 't' || n, 't/', 't-'"
        conn.execute(f"{query} FROM generate_series(1, %s) AS n", [EVENTS])
    async with world.relay():
        await world.drained()
    return {"NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}


async def test_a_bar_shows_rate_and_time_left_and_goes_when_all_is_told(
    history: dict[str, str], tmp_path: Path
) -> None:
    code, shown = await asyncio.to_thread(on_terminal, "events", "replay", "--json", output=tmp_path / "out", **history)
    lines = lines_of(shown)

    assert (code, len((tmp_path / "out").read_bytes().splitlines())) == (0, EVENTS)
    assert re.search(rf"1,000 of {EVENTS:,} .* 83% [\d,]+ events/s \d:\d\d:\d\d", lines[-1]), lines
    assert max(map(len, lines)) <= 80
    assert shown.endswith("\x1b[2K"), "the bar is erased"


async def test_the_bar_counts_from_the_start_to_the_end_that_were_asked_for(
    history: dict[str, str], tmp_path: Path
) -> None:
    arguments = ["events", "replay", "--json", "--from-sequence", "401", "--until", "1000"]
    _, shown = await asyncio.to_thread(on_terminal, *arguments, output=tmp_path / "out", **history)
    assert re.search(r"900 of 1,000 .* 90%", lines_of(shown)[-1]), shown


async def test_no_bar_disturbs_events_on_the_terminal(history: dict[str, str]) -> None:
    code, shown = await asyncio.to_thread(on_terminal, "events", "replay", "--last", "3", **history)
    expected = [r"worktree_type\.added"] * 3 + [r"continue with: --after \S+$"]

    assert code == 0
    assert all(re.search(*pair) for pair in zip(expected, lines_of(shown), strict=True)), shown


async def test_the_original_pace_keeps_the_time_between_events(world: World) -> None:
    async with world.relay():
        world.write(1)
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute("SELECT pg_sleep(0.4)")
        world.write(0, 0, 1)
        await world.drained()
        told: list[tuple[float, float]] = []
        began = monotonic()
        async with replay(world.nats, world.profile) as events:
            async for event in at_original_pace(events):
                occurred_at = orjson.loads(event.payload)["time"]
                told.append((monotonic(), datetime.fromisoformat(occurred_at).timestamp()))

    assert len(told) == 7
    for shown_at, occurred_at in told:
        assert shown_at - began >= occurred_at - told[0][1]
    assert told[-1][1] - told[0][1] >= 0.4
