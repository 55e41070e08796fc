"""What the streams hold, and how far behind their durable consumers are."""

from __future__ import annotations

from contextlib import suppress

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamInfo

from publisher.gauges.level import Level
from publisher.stream.consumers import durable_consumers, lag_of
from publisher.stream.replicas import replicas_away
from publisher.stream.waiting import waiting_commands
from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.dead_letters import DeadLetterDesk
from registry.errors import NotFound
from registry.profiles.profile import Profile

MOST_CONSUMERS = 100
"""Durable consumers that have values of their own, the first by name; `imi_consumers` counts all."""


async def measure(client: Client, profile: Profile) -> list[Level]:
    """What the streams of `profile` hold now. A stream that is not there is not told of. Raises `Unavailable`."""
    js = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)
    names = (profile.event_stream, profile.commands.stream, profile.commands.dead_letter_stream)
    found: dict[str, StreamInfo] = {}
    for name in names:
        try:
            with translated_nats(f"cannot measure stream {name}"):
                found[name] = await js.stream_info(name)
        except NotFound:
            continue
    levels = [
        Level("imi_stream_messages", "Messages in a stream", {n: i.state.messages for n, i in found.items()}, "stream"),
        Level("imi_stream_bytes", "Bytes of a stream", {n: i.state.bytes for n, i in found.items()}, "stream"),
        Level(
            "imi_stream_last_sequence",
            "Sequence of a stream's last message",
            {name: info.state.last_seq for name, info in found.items()},
            "stream",
        ),
        Level(
            "imi_stream_replicas_missing",
            "Replicas of a stream that are away, or behind",
            {name: len(replicas_away(info.cluster)) for name, info in found.items()},
            "stream",
        ),
    ]
    if profile.event_stream in found:
        with suppress(NotFound):  # deleted meanwhile
            levels += await _consumers(client, profile.event_stream)
    return [*levels, await _commands(client, profile), await _dead_letters(client, profile), *await _storage(js)]


async def _commands(client: Client, profile: Profile) -> Level:
    stream, seconds = profile.commands.stream, dict[str, float]()
    if not profile.is_shared:  # there the oldest may be somebody else's
        with suppress(NotFound):
            found = await waiting_commands(client, stream)
            seconds = {stream: found.seconds if found is not None else 0}
    text = "Age of the oldest command that waits; 0 when none does"
    return Level("imi_commands_oldest_seconds", text, seconds, "stream")


async def _dead_letters(client: Client, profile: Profile) -> Level:
    counts = await DeadLetterDesk(client, profile).counts(if_permitted=True)
    values = dict(sorted(counts.items())[:MOST_CONSUMERS])
    return Level("imi_event_dead_letters", "Events that a subscription could not handle", values, "durable")


async def _consumers(client: Client, stream: str) -> list[Level]:
    js = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)
    found, problem = await durable_consumers(client, stream)
    durable = sorted(found, key=lambda info: info.name)
    lags = {info.name: await lag_of(js, stream, info) for info in durable[:MOST_CONSUMERS]}
    return [
        Level.of("imi_consumers", "Durable consumers of the event stream", None if problem else len(durable)),
        Level(
            "imi_consumer_pending_events",
            "Events that a consumer has not been given yet",
            {name: lag.pending for name, lag in lags.items()},
            "consumer",
        ),
        Level(
            "imi_consumer_unacknowledged_events",
            "Events that it was given and has not acknowledged",
            {name: lag.unacknowledged for name, lag in lags.items()},
            "consumer",
        ),
        Level(
            "imi_consumer_oldest_seconds",
            "Age of the oldest event that it is not done with; 0 when it is done with all",
            {name: lag.oldest_seconds for name, lag in lags.items()},
            "consumer",
        ),
    ]


async def _storage(js: JetStreamContext) -> list[Level]:
    with translated_nats("cannot ask for the account's limits"):
        account = await js.account_info()
    limit = account.limits.max_storage
    return [
        Level.of("imi_jetstream_storage_bytes", "File storage that the NATS account uses", account.storage),
        Level.of(
            "imi_jetstream_storage_limit_bytes",
            "File storage that it may use; absent when it is not limited",
            limit if limit is not None and limit > 0 else None,
        ),
    ]
