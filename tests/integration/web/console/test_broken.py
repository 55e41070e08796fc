"""With a server away the console says which and what to do, and goes on by itself; nothing else suffers."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from publisher.relay.metrics import RelayMetrics
from publisher.web.console.sources import database
from publisher.web.console.sources.samples import Samples
from tests.support.nats.process import nats_process
from tests.support.proxy import postgres_proxy
from tests.support.web.console import Visitor, served
from tests.support.world import World


async def test_nats_killed_is_told_with_what_to_do_and_all_goes_on_when_it_is_back(
    world: World, state_dir: Path
) -> None:
    with nats_process(state_dir) as broker:
        async with served(world.at(nats_url=broker.url())) as (visitor, _):
            await visitor.until("/", "All is well")
            broker.end()
            text = await visitor.until("/", "waits for NATS")
            assert text.count("Start NATS, or look into its log") == 2, "once above all, once with the check"
            told = r"<strong>NATS:</strong> cannot connect to NATS at [^<]*</p>\s*<p>Waiting for it: [^<]*Relay"
            assert re.search(told, text)
            world.write(projects=1, worktrees=0, renames=0)
            assert "waits</span>" in await visitor.until("/events", "project.registered")
            assert "The stream does not tell" in (await visitor.get("/events/1")).text
            streams = (await visitor.get("/streams")).text
            assert ("NATS does not tell" in streams, "Start NATS, or look into its log" in streams) == (True, True)
            letters = await visitor.get("/dead-letters")
            assert (letters.status, "A server does not answer" in letters.text) == (503, True)
            broker.start()
            await visitor.until("/", "All is well", seconds=40)
            await visitor.until("/events/1", "in the stream")


async def test_postgresql_away_is_told_with_what_to_do(world: World) -> None:
    async with postgres_proxy(world.database) as (proxy, url), served(world.at(database=url)) as (visitor, _):
        await visitor.until("/", "All is well")
        proxy.refuse()
        await visitor.until("/", "Start PostgreSQL, or look into its log")
        await everything_says_so(visitor)
        proxy.go_on()
        await visitor.until("/", "All is well", seconds=40)


async def test_postgresql_that_says_nothing_more_is_given_up_in_time(world: World) -> None:
    async with (
        postgres_proxy(world.database) as (proxy, url),
        served(world.at(database=url), works=False) as (visitor, _),
    ):
        await visitor.until("/events", "No event is kept")
        proxy.black_hole()
        assert (await visitor.get("/events")).status == 503
        assert (await visitor.get("/healthz")).status == 200
        proxy.go_on()
        await visitor.until("/events", "No event is kept", seconds=40)


async def everything_says_so(visitor: Visitor) -> None:
    for path in ("/events", "/projects", "/commands", "/events/1", "/events/1/causes"):
        answer = await visitor.get(path)
        assert answer.status == 503, path
        assert "the console goes on by itself when the server answers" in answer.text
    for path in ("/streams", "/proof", "/sign-in", "/status", "/healthz", "/metrics", "/search?q=x"):
        assert (await visitor.get(path)).status == 200, path


async def test_what_waits_while_nats_is_away_is_counted(world: World, state_dir: Path) -> None:
    with nats_process(state_dir) as broker:
        async with served(world.at(nats_url=broker.url())) as (visitor, console):
            await visitor.until("/", "All is well")
            broker.end()
            await visitor.until("/", "cannot connect to NATS")
            world.write(projects=1, worktrees=0, renames=0)
            ((waiting,),) = world.rows("SELECT count(*) FROM outbox")
            async with asyncio.timeout(30):
                while not console.samples.kept or console.samples.kept[-1].waiting != waiting:
                    await asyncio.sleep(0.05)
            broker.start()


async def test_what_is_not_committed_does_not_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOOK_SECONDS", 0.1)
    async with served(world) as (_, console), asyncio.timeout(30):
        with psycopg.connect(world.database) as slow:
            slow.execute("SELECT register_project('slow', 'git@github.com:a/slow.git')")
            world.write(projects=1, worktrees=0, renames=0)
            while not console.relay.waiting_ids or console.database.known is None or console.database.known.waiting:
                await asyncio.sleep(0.01)
            console.samples.take()
            assert console.samples.kept[-1].waiting == 0


async def test_what_another_publishes_is_told_by_the_time_between_two_looks_and_until_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOOK_SECONDS", 0.3)
    async with served(world, works=False) as (_, console), world.relay(), asyncio.timeout(30):

        async def known_once(published: int) -> float:
            while console.database.known is None or console.database.known.published < published:
                await asyncio.sleep(0.01)
            return console.database.known_at

        began = await known_once(0)
        samples = Samples(console.settings, RelayMetrics(), console.database, CollectorRegistry())
        world.write(projects=1, worktrees=0, renames=4)
        ((written,),) = world.rows("SELECT count(*) FROM outbox")
        await world.drained()
        ended = await known_once(written)
        for _ in range(3):
            samples.take()
        while console.database.known_at == ended:
            await asyncio.sleep(0.01)
        samples.take()
        rate = pytest.approx(written / (ended - began))
        assert [sample.events_per_second for sample in samples.kept] == [rate, rate, rate, 0.0]
