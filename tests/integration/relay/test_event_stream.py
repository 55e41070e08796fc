"""The event stream: it is made as designed, and one that is not as it was left is refused."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import psycopg
import pytest
from nats.js.api import StreamConfig

from publisher.stream import tail
from publisher.stream.event_stream import StreamLost
from registry.errors import Conflict
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
