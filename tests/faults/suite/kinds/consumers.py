"""Consumers that somebody else deletes, or makes anew as he pleases."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic
from typing import Any

import nats.errors
import nats.js.errors

from tests.faults.suite.fault import ALONE, fault
from tests.faults.suite.installation import SUBSCRIBER, Installation
from tests.faults.suite.kinds.nats import NATS
from tests.faults.suite.markers import POLL_SECONDS, until_handled
from tests.faults.suite.subscriber import DURABLE
from tests.support.nats.consumers import delete_consumer, is_there, make_consumer, newest_of
from tests.support.nats.reading import connected

REPLACED_SECONDS = 60.0
"""A subscriber that has not noticed the stranger by then believes him; what he let it skip the judge finds."""
MADE: list[dict[str, Any]] = [
    {"deliver_policy": "new"},
    {"deliver_policy": "all"},
    {"deliver_policy": "all", "ack_policy": "none"},
    {"deliver_policy": "all", "ack_wait": 500_000_000, "max_ack_pending": 1},
    {"deliver_policy": "all", "deliver_subject": "strangers"},
]
"""What it is made as, as NATS has it: one that skips, one that repeats, one that knows nothing of acknowledgements …"""


@fault("consumers deleted", NATS, longest_seconds=1)
async def consumers_deleted(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    async with connected(there.cluster.url) as client:
        jetstream = client.jetstream()
        for stream in (there.event_stream, there.command_stream):
            with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError):  # as many as NATS deletes in its time
                for consumer in await jetstream.consumers_info(stream):
                    await jetstream.delete_consumer(stream, consumer.name)
    yield


@fault("durable consumer deleted by a stranger", ALONE)
async def deleted(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    """The subscriber hears nothing meanwhile."""
    await until_handled(there)
    _deafen(there)
    await delete_consumer(
        there.cluster, there.event_stream, (await newest_of(there.cluster, there.event_stream, DURABLE))["name"]
    )
    yield
    _heal(there, rng)
    await until_handled(there)


@fault("durable consumer made anew by a stranger", ALONE)
async def made_anew(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    """The subscriber hears nothing meanwhile. A process that starts later would believe it, so until it is replaced."""
    await until_handled(there)
    _deafen(there)
    found = await newest_of(there.cluster, there.event_stream, DURABLE)
    await delete_consumer(there.cluster, there.event_stream, found["name"])
    yield
    common = {"name": found["name"], "durable_name": found["name"], "ack_policy": "explicit"}
    config = common | {"filter_subject": found["config"]["filter_subject"]} | rng.choice(MADE)
    await make_consumer(there.cluster, there.event_stream, config)
    _heal(there, rng)
    until = monotonic() + REPLACED_SECONDS
    while await is_there(there.cluster, there.event_stream, found["name"]) and monotonic() < until:
        await asyncio.sleep(POLL_SECONDS)
    await until_handled(there)


def _deafen(there: Installation) -> None:
    for proxy in there.lines[SUBSCRIBER].nats:
        proxy.black_hole("to_client")


def _heal(there: Installation, rng: random.Random) -> None:
    """Tell the subscriber what was held back, or cut its connections, so that it never hears of it."""
    is_told = rng.random() < 0.5
    for proxy in there.lines[SUBSCRIBER].nats:
        if not is_told:
            proxy.cut()
        proxy.go_on()
