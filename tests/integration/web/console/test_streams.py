"""Streams and consumers in the console."""

from __future__ import annotations

import asyncio
import re

import psycopg
import pytest
from nats.js.api import ConsumerConfig

from publisher.actions import Actions, entry_of
from publisher.outbox import known
from registry.dead_letters.stream import LetterStream
from tests.support.web.console import served
from tests.support.world import World


async def test_what_is_kept_who_reads_and_how_far_behind(world: World) -> None:
    world.write(projects=2, worktrees=2, renames=1)
    async with served(world) as (visitor, _):
        await world.drained()
        jetstream = world.nats.jetstream()
        await jetstream.add_consumer(world.stream, ConsumerConfig(durable_name="slow", ack_policy="explicit"))
        count = (await jetstream.stream_info(world.stream)).state.messages

        text = (await visitor.get("/streams")).text

        assert f"{count:,} messages" in text
        assert re.search(
            rf"slow\s+<span class=\"badge note\">nobody reads</span></td>\s*<td[^>]*>&gt;</td><td[^>]*>{count}<", text
        )
        for name in (world.stream, world.names.commands.stream, world.names.commands.dead_letter_stream):
            assert f">{name}<" in text
        assert f'<td class="mono">{world.stream}</td><td class="number">{count}</td><td class="number">0</td>' in text


async def test_who_is_at_work_at_what_it_fetched_reads(world: World) -> None:
    world.write(projects=1, worktrees=1, renames=0)
    async with served(world) as (visitor, _):
        await world.drained()
        jetstream = world.nats.jetstream()
        await jetstream.add_consumer(world.stream, ConsumerConfig(durable_name="board", ack_policy="explicit"))
        subscription = await jetstream.pull_subscribe_bind("board", world.stream)
        await subscription.fetch(1, timeout=10)
        text = (await visitor.get("/streams")).text
    assert re.search(r"board\s+<span class=\"badge well\">reads<", text)


async def test_more_consumers_than_the_server_lists_at_once_are_all_there(world: World) -> None:
    world.write(projects=1, worktrees=0, renames=0)
    async with served(world) as (visitor, _):
        await world.drained()
        jetstream = world.nats.jetstream()
        names = [f"d{number:03}" for number in range(300)]
        await asyncio.gather(
            *(jetstream.add_consumer(world.stream, ConsumerConfig(durable_name=name)) for name in names)
        )
        text = (await visitor.get("/streams")).text
    assert [name for name in names if name not in text] == []


async def test_where_more_wait_than_are_counted_that_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST_WAITING", 2)
    world.write(projects=3, worktrees=0, renames=0)
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("INSERT INTO publisher_cursor (stream) VALUES (%s)", [world.stream])
    async with served(world, works=False) as (visitor, _):
        await visitor.until("/streams", '<td class="number">2 or more</td>')


async def test_a_stream_that_is_not_there_is_told_so(world: World) -> None:
    async with served(world, works=False) as (visitor, _):
        text = await visitor.until("/streams", "is not there")
        assert "Nothing was published yet." in text


async def test_streams_that_are_made_when_they_are_needed_are_there_then(world: World) -> None:
    letters = world.profile.letters
    async with served(world) as (visitor, _):
        before = (await visitor.get("/streams")).text
        await LetterStream(world.nats, letters, "indexer").open()
        await Actions(world.nats, letters).add(entry_of("cli", "jarad", "dead letter: drop", "commands 1", "dropped"))
        text = (await visitor.get("/streams")).text

    for name, what in (
        (letters.stream("indexer"), "dead letters of indexer"),
        (letters.action_stream, "the log of actions"),
    ):
        assert name not in before
        assert f">{name}<" in text
        assert what in text
    assert letters.record_stream not in text
