"""NATS read with nothing but its own client: a judge that shares no code with the accused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamInfo

FETCH_BYTES = 16 * 1024 * 1024
PATIENCE_SECONDS = 60


@asynccontextmanager
async def connected(nats_url: str) -> AsyncIterator[Client]:
    """A client of NATS for the block; of a cluster, `nats_url` has its servers separated by commas."""

    async def ignore(error: Exception) -> None:
        """nats-py reports each reconnect here, and prints a traceback where nobody listens."""

    client = await nats.connect(nats_url.split(","), error_cb=ignore)
    try:
        yield client
    finally:
        await client.close()


async def stream_info(client: Client, stream: str) -> StreamInfo:
    """What the server says of a stream; asked again where a node that has just come back loses the question."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(NatsTimeoutError):
                return await client.jetstream().stream_info(stream)


async def messages(client: Client, stream: str) -> AsyncIterator[Msg]:
    """Every message the stream holds, in sequence order; fails when one of them does not arrive."""
    jetstream = client.jetstream()
    state = (await stream_info(client, stream)).state
    if not state.messages:
        return
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, mem_storage=True, inactive_threshold=300
    )
    subscription = await jetstream.pull_subscribe("", stream=stream, config=config)
    page_size = max(1, min(500, FETCH_BYTES * state.messages // max(state.bytes, 1)))
    last, left = 0, state.messages
    while left:
        for message in await subscription.fetch(min(left, page_size), timeout=10):
            sequence = message.metadata.sequence.stream
            assert sequence > last, f"message {sequence} of {stream} was read behind {last}"
            last, left = sequence, left - 1
            yield message
    await subscription.unsubscribe()
    assert last == state.last_seq or state.num_deleted, f"{stream} ends at {state.last_seq}, read up to {last}"
