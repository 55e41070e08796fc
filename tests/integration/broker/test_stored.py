"""A message that is deleted from a stream, and one that is gone already, wherever it lay."""

from __future__ import annotations

import asyncio

import pytest

from registry.broker.stored import delete_message
from registry.errors import NotFound
from tests.support.world import World


@pytest.mark.parametrize("number", [1, 3, 5], ids=["first", "within", "last"])
async def test_one_that_is_gone_already_is_no_error(world: World, number: int) -> None:
    stream, jetstream = f"{world.prefix}_kept", world.nats.jetstream()
    await jetstream.add_stream(name=stream, subjects=[stream])
    for _ in range(5):
        await jetstream.publish(stream, b"x")

    at_once = await asyncio.gather(*(delete_message(jetstream, stream, number) for _ in range(8)))

    assert sorted(at_once) == [False] * 7 + [True]
    assert not await delete_message(jetstream, stream, number)
    assert not await delete_message(jetstream, stream, 99)
    assert (await jetstream.stream_info(stream)).state.messages == 4
    await jetstream.delete_stream(stream)
    with pytest.raises(NotFound, match=f"cannot delete message {number} of stream {stream}"):
        await delete_message(jetstream, stream, number)
