"""A journal on a server that has not heard of its stream yet, as one of a cluster on which another one just made it."""

from __future__ import annotations

import asyncio

import pytest
from nats.js.api import StreamConfig

from registry.broker.journal import Journal
from registry.errors import Unavailable
from tests.support.world import World


async def test_a_stream_that_is_heard_of_a_moment_later_is_waited_for(world: World) -> None:
    stream, root = f"{world.stream}_JOURNAL", f"{world.prefix}.journal"
    journal = Journal(world.nats, stream, root, "What was done", like=world.stream)
    jetstream = world.nats.jetstream()
    await journal.write(f"{root}.a", {"line": 1})
    await jetstream.delete_stream(stream)

    writing = asyncio.create_task(journal.write(f"{root}.a", {"line": 2}))
    await asyncio.sleep(0.3)
    await jetstream.add_stream(StreamConfig(name=stream, subjects=[f"{root}.>"]))
    await writing
    assert await journal.latest(10) == [{"line": 2}]

    await jetstream.delete_stream(stream)
    with pytest.raises(Unavailable, match=f"cannot write into stream {stream}"):
        await journal.write(f"{root}.a", {"line": 3})
