"""Streams and consumers as NATS tells them: what is kept, by which limits, who reads it and how far behind."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamInfo

from publisher.stream.consumers import Lag, is_read, lag_of
from publisher.web.console.sources.broker import Broker
from registry.broker.consumers import listed_consumers
from registry.broker.errors import translated_nats
from registry.concurrency.tasks import in_time
from registry.dead_letters.desk import DeadLetterDesk
from registry.errors import NotFound, RegistryError
from registry.profiles.profile import Profile

REQUEST_SECONDS = 3.0
ANSWER_SECONDS = 8.0
MOST_LAGS = 50
"""For the age of the oldest event a consumer is not done with one message of each is read, of so many."""


class Consumer(NamedTuple):
    """A reader of a stream that the server knows."""

    name: str
    is_durable: bool
    filters: list[str]
    pending: int
    unacknowledged: int
    redelivered: int
    delivered: int
    """Sequence of the last message that it was given."""
    done: int
    """Sequence up to which it has acknowledged all."""
    behind_seconds: float | None
    """Age of the oldest message that it is not done with; None when it was not looked at."""
    is_read: bool
    """Whether somebody waits for its messages, or may be at work at one."""


class Stream(NamedTuple):
    """A stream."""

    name: str
    what: str
    """What is in it."""
    description: str
    subjects: list[str]
    messages: int
    bytes: int
    first: int
    first_at: datetime | None
    last: int
    last_at: datetime | None
    storage: str
    replicas: int
    retention: str
    max_messages: int | None
    max_bytes: int | None
    max_age: timedelta | None
    consumers: list[Consumer]
    all_consumers: int
    problem: str = ""
    """Why not all consumers are here."""


class Streams(NamedTuple):
    """Those that are there, and what could not be asked."""

    found: list[Stream]
    missing: list[tuple[str, str]]
    """Name, and why it is not told of."""


async def streams_of(broker: Broker, profile: Profile) -> Streams:
    """The streams of this registry. Raises `Unavailable`."""
    client = broker.client
    js = client.jetstream(timeout=REQUEST_SECONDS)
    expected = {
        profile.event_stream: "events",
        profile.commands.stream: "commands that wait",
        profile.commands.dead_letter_stream: "dead letters of commands",
    }

    async def asked() -> Streams:
        found: list[Stream] = []
        missing: list[tuple[str, str]] = []
        others = await _made_when_needed(broker, profile)
        for name, what in (expected | others).items():
            try:
                with translated_nats(f"cannot look at stream {name}"):
                    info = await js.stream_info(name)
            except NotFound:
                if name in expected:
                    missing.append((name, "is not there: it is made when the service first needs it"))
                continue
            except RegistryError as error:
                missing.append((name, str(error)))
                continue
            found.append(await _stream(client, info, what))
        return Streams(found, missing)

    return await in_time(asked(), ANSWER_SECONDS, "NATS")


async def _made_when_needed(broker: Broker, profile: Profile) -> dict[str, str]:
    """What is in the streams that are there when something had to be put aside, or somebody did something."""
    letters = profile.letters
    durables = await DeadLetterDesk(broker.client, profile).durables(if_permitted=True)
    return {letters.stream(durable): f"dead letters of {durable}" for durable in durables} | {
        letters.record_stream: "what was done with dead letters",
        letters.action_stream: "the log of actions",
    }


async def _stream(client: Client, info: StreamInfo, what: str) -> Stream:
    js, config, state = client.jetstream(timeout=REQUEST_SECONDS), info.config, info.state
    name, problem = config.name or "", ""
    consumers: list[Consumer] = []
    try:
        with translated_nats(f"cannot list the consumers of stream {name}"):
            listed, problem = await in_time(listed_consumers(client, name), REQUEST_SECONDS, "NATS")
        for number, one in enumerate(sorted(listed, key=_by_lag, reverse=True)):
            consumers.append(_consumer(one, await lag_of(js, name, one) if number < MOST_LAGS else None))
    except RegistryError as error:
        problem = str(error)
    return Stream(
        name,
        what,
        config.description or "",
        list(config.subjects or []),
        state.messages,
        state.bytes,
        state.first_seq,
        await _stored_at(js, name, state.first_seq) if state.messages else None,
        state.last_seq,
        await _stored_at(js, name, state.last_seq) if state.messages else None,
        str(config.storage or ""),
        config.num_replicas or 1,
        str(config.retention or ""),
        _limit(config.max_msgs),
        _limit(config.max_bytes),
        timedelta(seconds=config.max_age) if config.max_age else None,
        consumers,
        state.consumer_count,
        problem,
    )


async def _stored_at(js: JetStreamContext, name: str, sequence: int) -> datetime | None:
    try:
        with translated_nats(f"cannot read stream {name}"):
            return (await js.get_msg(name, sequence)).time
    except RegistryError:  # removed meanwhile, or not to be read by this account
        return None


def _consumer(info: ConsumerInfo, lag: Lag | None) -> Consumer:
    config = info.config
    filters = [config.filter_subject] if config.filter_subject else list(config.filter_subjects or [])
    return Consumer(
        info.name,
        bool(config.durable_name),
        filters,
        info.num_pending or 0,
        info.num_ack_pending or 0,
        info.num_redelivered or 0,
        info.delivered.stream_seq if info.delivered else 0,
        info.ack_floor.stream_seq if info.ack_floor else 0,
        lag.oldest_seconds if lag is not None else None,
        is_read(info),
    )


def _by_lag(info: ConsumerInfo) -> int:
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


def _limit(value: int | None) -> int | None:
    return value if value is not None and value > 0 else None
