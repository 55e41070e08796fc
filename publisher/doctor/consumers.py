"""The event stream's configuration and cluster, and the consumers that stand still or lose events by theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ClusterInfo, ConsumerInfo

from publisher.doctor.findings import Finding
from publisher.settings import Settings, profile_of
from publisher.stream.consumers import Lag, durable_consumers, is_read, lag_of
from publisher.stream.event_stream import EventStream
from publisher.stream.replicas import replicas_away
from publisher.stream.shared_stream import SharedStream
from registry.broker.errors import translated_nats
from registry.broker.pull import delivered_of
from registry.errors import Conflict, NotFound, Unprepared

STUCK_SECONDS = 600.0
"""A consumer is named that has not finished an event so old."""
LOOK_SECONDS = 1.0
"""Then those are looked at once more for whose events nobody waits."""
LISTED = 20


async def consumer_findings(client: Client, settings: Settings) -> list[Finding]:
    """Look at the event stream, and at its durable consumers. Raises `Unavailable`."""
    profile, jetstream = profile_of(settings), client.jetstream()
    stream = (SharedStream if profile.is_shared else EventStream)(client, profile, settings)
    try:
        with translated_nats(f"cannot read stream {stream.name}"):
            info = await jetstream.stream_info(stream.name)
    except NotFound:  # told by who compares it with the record
        return []
    findings = list(cluster(stream.name, info.cluster))
    try:
        stream.check(info.config)
    except Conflict as error:
        findings.append(Finding(False, f"{error}; a publisher that starts refuses it"))
    try:
        consumers, problem = await durable_consumers(client, stream.name)
    except (NotFound, Unprepared):  # deleted meanwhile; or an account that may not list them
        return findings
    if problem:
        findings.append(Finding(False, problem, is_hindrance=False))
    for consumer in consumers:
        findings += lossy(consumer)
    lags = [(consumer, await lag_of(jetstream, stream.name, consumer)) for consumer in consumers]
    stuck = [(consumer, lag) for consumer, lag in lags if lag.oldest_seconds and lag.oldest_seconds >= STUCK_SECONDS]
    read = await _read(jetstream, stream.name, [consumer for consumer, _ in stuck])
    findings += [_stuck(stream.name, consumer, lag, is_read=consumer.name in read) for consumer, lag in stuck]
    return findings[:LISTED]


def cluster(stream: str, found: ClusterInfo | None) -> Iterator[Finding]:
    """Whether the stream has all its replicas; None where nats-server stands alone."""
    away = replicas_away(found)
    if away:
        yield Finding(
            False,
            f"replicas of stream {stream} on {', '.join(away)} are away or behind: one more loss may stop it",
            is_hindrance=False,
        )


def lossy(consumer: ConsumerInfo) -> Iterator[Finding]:
    """Settings of a durable consumer by which its component loses events."""
    config = consumer.config
    if config.ack_policy == AckPolicy.NONE:
        yield Finding(
            False,
            f"consumer {consumer.name} acknowledges nothing (ack_policy none): what its component has in hand when it "
            "ends is lost to it; make it anew with explicit",
            is_hindrance=False,
        )
    elif config.max_deliver is not None and config.max_deliver > 0:
        yield Finding(
            False,
            f"consumer {consumer.name} gives an event up, and tells nobody, once it was delivered {config.max_deliver} "
            "times (max_deliver): without a limit, or with max_attempts of the client, none is lost",
            is_hindrance=False,
        )


async def _read(jetstream: JetStreamContext, stream: str, consumers: list[ConsumerInfo]) -> set[str]:
    """Names of those that somebody reads. Between two requests a reader waits for nothing, so they are looked at twice.

    Raises `Unavailable`.
    """
    quiet = [consumer for consumer in consumers if not is_read(consumer)]
    read = {consumer.name for consumer in consumers} - {consumer.name for consumer in quiet}
    if quiet:
        await asyncio.sleep(LOOK_SECONDS)
    for consumer in quiet:
        with suppress(NotFound), translated_nats(f"cannot look at consumer {consumer.name} of stream {stream}"):
            later = await jetstream.consumer_info(stream, consumer.name)
            if is_read(later) or delivered_of(later) != delivered_of(consumer):
                read.add(consumer.name)
    return read


def _stuck(stream: str, consumer: ConsumerInfo, lag: Lag, *, is_read: bool) -> Finding:
    left = lag.pending + lag.unacknowledged
    events = "1 event" if left == 1 else f"{left:,} events"
    why = (
        "it is read, so its handler fails or hangs: see the log of its component"
        if is_read
        else f"nobody reads it: start its component, or nats consumer rm {stream} {consumer.name}"
    )
    since = timedelta(seconds=round(lag.oldest_seconds))
    said = f"consumer {consumer.name} is {events} behind, the oldest of {since} ago"
    return Finding(False, f"{said}; {why}", is_hindrance=False)
