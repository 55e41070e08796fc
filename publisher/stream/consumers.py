"""The durable consumers of the event stream, and how far behind each is."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo

from registry.broker.consumers import Listed, listed_consumers
from registry.broker.errors import translated_nats
from registry.errors import NotFound

AT_WORK_SECONDS = 60.0
"""So long somebody may be at work at what it got last, and wait for nothing meanwhile."""


class Lag(NamedTuple):
    """How far behind a consumer is."""

    pending: int
    """Events that it was not given yet."""
    unacknowledged: int
    """Events that it was given and has not acknowledged."""
    oldest_seconds: float
    """Age of the oldest of both; 0 when there is none."""


async def durable_consumers(client: Client, stream: str) -> Listed:
    """Those that the server tells of, and whether these are all. Raises `NotFound`, `Unavailable`."""
    with translated_nats(f"cannot list the consumers of stream {stream}"):
        found, problem = await listed_consumers(client, stream)
    return Listed([info for info in found if info.config.durable_name], problem)


def is_read(consumer: ConsumerInfo) -> bool:
    """Whether somebody waits for its events, or has got one just now and may be at work at it."""
    if consumer.config.deliver_subject:
        return bool(consumer.push_bound)
    last = consumer.delivered.last_active if consumer.delivered is not None else None
    return bool(consumer.num_waiting) or (
        last is not None and (datetime.now(UTC) - last).total_seconds() < AT_WORK_SECONDS
    )


async def lag_of(jetstream: JetStreamContext, stream: str, info: ConsumerInfo) -> Lag:
    """How far behind one is. Raises `Unavailable`."""
    pending, unacknowledged = info.num_pending or 0, info.num_ack_pending or 0
    if not pending + unacknowledged:
        return Lag(0, 0, 0)
    floor = info.ack_floor.stream_seq if info.ack_floor is not None else 0
    times = []
    for subject in info.config.filter_subjects or [info.config.filter_subject or ">"]:
        with suppress(NotFound), translated_nats(f"cannot read stream {stream}"):  # removed, or of this filter none
            times.append((await jetstream.get_msg(stream, seq=floor + 1, subject=subject, next=True)).time)
    oldest = min((time for time in times if time is not None), default=None)
    seconds = 0.0 if oldest is None else max((datetime.now(UTC) - oldest).total_seconds(), 0.0)
    return Lag(pending, unacknowledged, seconds)
