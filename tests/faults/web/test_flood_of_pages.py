"""Whole requests without end, over as many connections as there may be: events are published, and probes answered."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import psycopg
import pytest

from publisher.web.connections import MOST_CONNECTIONS
from tests.faults.web.test_half_open_requests import files_of
from tests.support.relay_process import RelayProcess
from tests.support.web.console import Visitor
from tests.support.web.flood import flooding
from tests.support.world import World

CONNECTIONS = MOST_CONNECTIONS - 16
"""The others are for who is not of the flood."""
EVENTS, ANSWERS = 20, 10_000
"""Each event waited for 2,000 answers and more before requests stood in line; it waits for some tens."""
PROBES = ("/healthz", "/readyz", "/status", "/metrics")

FLOODS = {
    "pages": ("/", "/events", "/projects", "/commands/send", "/nowhere"),
    "probes": ("/readyz",),
    "metrics": ("/metrics",),
    "files": ("/static/live.js",),
}


async def delivered(world: World, number: int) -> None:
    """Write, and wait until it is in the stream."""
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("SELECT register_project(%s, %s)", [f"p{number}", f"git@github.com:a/p{number}.git"])
    async with asyncio.timeout(60):
        while (await world.nats.jetstream().stream_info(world.stream)).state.messages <= number:
            await asyncio.sleep(0.002)


async def visitor_of(process: RelayProcess) -> Visitor:
    return Visitor(urlsplit((await process.ready())["http_url"]).port or 0)


@pytest.mark.parametrize("paths", FLOODS.values(), ids=FLOODS.keys())
async def test_who_asks_for_anything_without_end_delays_no_event_and_no_probe(
    world: World, paths: tuple[str, ...]
) -> None:
    with world.process() as process:
        visitor = await visitor_of(process)
        await visitor.until("/events", "No event is kept")
        async with flooding(visitor.port, CONNECTIONS, *paths) as flood:
            before = (await flood.answers()).total()
            for number in range(EVENTS):
                await delivered(world, number)
                answered = (await flood.answers()).total() - before
                assert answered < ANSWERS, f"{number + 1} events"
            for path in PROBES:
                assert (await visitor.get(path)).status == 200, path
        await visitor.until("/events", f">p{EVENTS - 1}<")
        await world.assert_exactly_once()
        assert [line for line in process.log() if line["level"] not in {"info", "debug"}] == []


async def test_who_connects_and_closes_without_end_keeps_no_event_back(world: World) -> None:
    with world.process() as process:
        visitor = await visitor_of(process)
        await visitor.get("/healthz")
        before = files_of(process.pid)
        async with flooding(visitor.port, 1) as flood:
            for number in range(EVENTS):
                closed = (await flood.answers())["closed"]
                await delivered(world, number)
                assert (await flood.answers())["closed"] > closed, "it went on meanwhile"
                assert files_of(process.pid) <= before + MOST_CONNECTIONS
        assert (await visitor.get("/readyz")).status == 200
        await world.assert_exactly_once()
        assert [line for line in process.log() if line["level"] not in {"info", "debug"}] == []


async def test_who_asks_for_pages_without_end_is_told_to_come_again_and_gets_one_when_it_is_over(world: World) -> None:
    with world.process() as process, psycopg.connect(world.database) as slow:
        visitor = await visitor_of(process)
        world.write(projects=1, worktrees=1, renames=0)
        await world.drained()
        ((worktree, number),) = world.rows("SELECT id, (SELECT count(*) FROM outbox) FROM worktrees")
        page = f"/worktrees/{worktree}"
        slow.execute("LOCK agent_activities")  # so that this page takes half a second
        async with flooding(visitor.port, CONNECTIONS, page) as flood, asyncio.timeout(120):
            while (await flood.answers())["busy"] < CONNECTIONS:
                await delivered(world, number)
                number += 1
            for path in PROBES:
                assert (await visitor.get(path)).status == 200, path
        slow.rollback()
        assert (await visitor.get(page)).status == 200
