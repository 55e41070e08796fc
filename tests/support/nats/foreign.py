"""A stream of the tests' own, with messages that are no events."""

from __future__ import annotations

from nats.js import JetStreamContext

from tests.support.world import World


async def stream_of(world: World, *names: str) -> JetStreamContext:
    """Make the event stream, with a message on a subject of each of `names`, in their order."""
    jetstream = world.nats.jetstream()
    await jetstream.add_stream(name=world.stream, subjects=[f"{world.prefix}.evt.v1.>"])
    for name in names:
        await jetstream.publish(f"{world.prefix}.evt.v1.{name}", b"")
    return jetstream
