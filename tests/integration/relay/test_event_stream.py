"""The event stream: it is made as designed, and one that is not as it was left is refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import psycopg
import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, StreamConfig

from publisher.stream import tail
from publisher.stream.event_stream import StreamLost
from publisher.stream.tail import Stored
from registry.errors import Conflict
from registry.profiles.profile import Profile
from tests.support.outbox_reader import add_project
from tests.support.world import World


async def test_the_stream_is_created_as_designed(world: World) -> None:
    async with world.relay():
        config = (await world.nats.jetstream().stream_info(f"{world.prefix.upper()}_EVENTS")).config

    assert config.subjects == [f"{world.prefix}.evt.v1.>"]
    assert (config.storage, config.retention) == ("file", "limits")
    assert config.allow_atomic
    assert config.allow_direct


async def test_a_stream_that_disagrees_is_an_error_that_names_the_difference_and_alters_nothing(world: World) -> None:
    name = f"{world.prefix.upper()}_EVENTS"
    theirs = StreamConfig(name=name, subjects=[f"{world.prefix}.evt.v1.>"], max_age=3600, storage="memory")
    await world.nats.jetstream().add_stream(theirs)
    before = (await world.nats.jetstream().stream_info(name)).config

    with pytest.raises(BaseExceptionGroup) as caught:
        async with world.relay():
            pass

    (error,) = caught.value.split(Conflict)[0].exceptions  # type: ignore[union-attr]
    assert f"stream {name} exists with another configuration" in str(error)
    for difference in ("storage is memory, expected file", "max_age (s) is 3600", "allow_atomic is False"):
        assert difference in str(error)
    assert (await world.nats.jetstream().stream_info(name)).config == before


async def test_a_stream_that_ends_before_what_was_published_is_refused(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    add_project(writer)

    async with world.relay():
        await world.drained()
    await world.nats.jetstream().delete_stream(f"{world.prefix.upper()}_EVENTS")
    add_project(writer, "beta")
    with pytest.raises(BaseExceptionGroup) as caught:
        async with world.relay():
            pass

    (error,) = caught.value.split(StreamLost)[0].exceptions  # type: ignore[union-attr]
    assert "ends at sequence 0, but 1 was published into it" in str(error)


@pytest.mark.parametrize("is_whole", [True, False], ids=["to its end", "in part"])
async def test_who_has_read_the_tail_leaves_no_consumer_in_the_stream(
    world: World, writer: psycopg.Connection[Any], is_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "FETCH", 1)
    add_project(writer)
    add_project(writer, "beta")
    async with world.relay():
        await world.drained()

    jetstream = world.nats.jetstream()
    async with aclosing(tail.tail_of(jetstream, world.profile, 0)) as pages:
        assert len(await anext(pages)) == 1
        if is_whole:
            assert len([page async for page in pages]) == 1

    assert await jetstream.consumers_info(world.stream) == []


@pytest.mark.parametrize("known", [0, 1, 2])
async def test_what_a_replica_that_is_behind_leaves_out_of_the_tail_is_asked_of_the_leader(
    world: World, writer: psycopg.Connection[Any], known: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alpha", "beta", "gamma"):
        add_project(writer, name)
    async with world.relay():
        await world.drained()
    by_consumer = tail._by_consumer

    async def behind(jetstream: JetStreamContext, profile: Profile, after: int) -> AsyncGenerator[list[Stored], None]:
        async for page in by_consumer(jetstream, profile, after):
            if known:
                yield page[:known]

    monkeypatch.setattr(tail, "_by_consumer", behind)

    read = [one async for page in tail.tail_of(world.nats.jetstream(), world.profile, 0) for one in page]

    assert [one.sequence for one in read] == [1, 2, 3]
    assert [(one.outbox_id, one.event_id) for one in read] == world.rows("SELECT id, event_id::text FROM outbox")


async def test_a_replica_that_is_behind_the_place_asked_for_puts_nothing_before_it_into_the_tail(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(projects=3, worktrees=0, renames=0)
    async with world.relay():
        await world.drained()
    subscribe = JetStreamContext.pull_subscribe

    async def behind(self: JetStreamContext, *names: Any, config: ConsumerConfig, **options: Any) -> Any:
        return await subscribe(self, *names, config=config.evolve(opt_start_seq=1), **options)

    monkeypatch.setattr(JetStreamContext, "pull_subscribe", behind)

    pages = tail.tail_of(world.nats.jetstream(), world.profile, 2)

    assert [one.sequence async for page in pages for one in page] == [3]


@pytest.mark.parametrize("lost", [0, 1])
async def test_what_was_lost_on_the_way_between_two_of_the_tail_is_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    world.write(projects=5, worktrees=0, renames=0)
    async with world.relay():
        await world.drained()
    monkeypatch.setattr(tail, "FETCH", 2)
    fetch = JetStreamContext.PullSubscription.fetch
    left = lost

    async def losing(self: Any, batch: int, timeout: float) -> list[Any]:
        nonlocal left
        left -= 1
        if left == -1:
            await fetch(self, batch, timeout)
        return await fetch(self, batch, timeout)

    monkeypatch.setattr(JetStreamContext.PullSubscription, "fetch", losing)

    pages = tail.tail_of(world.nats.jetstream(), world.profile, 0)

    assert [one.sequence async for page in pages for one in page] == [1, 2, 3, 4, 5]
