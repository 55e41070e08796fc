"""The event stream in JetStream: its configuration, publishing behind the fence (`fence.py`), and its tail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from publisher.settings import Settings
from publisher.stream.acknowledgements import Acknowledgements, BatchRefused
from publisher.stream.fence import LAST_SEQUENCE, atomic_batch, one_by_one
from publisher.stream.protocol import write
from publisher.stream.tail import Stored, tail_of
from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.broker.permitted import refusal_of
from registry.broker.stream import is_replicated
from registry.errors import Conflict, NotFound, Unavailable, Unprepared
from registry.events.message import Message
from registry.log import log
from registry.profiles.profile import Profile

_said: set[tuple[str, str]] = set()
"""Streams and what was logged of each by this process."""

API_LEVEL = "_nats.level"
"""Member of a stream's metadata in which a server tells its API level, those since 2.11 (NATS ADR-44)."""
BATCH_LEVEL = 2
"""API level that brought atomic batches."""

FEW = 128
"""So many messages are stored sooner as requests of their own than as an atomic batch, which has a fixed cost."""

AGE_DIGITS = 3
"""Age limits are compared in milliseconds: as nanoseconds and back, days times 86,400 come out as another float."""

PLACEHOLDER = b'{"placeholder": "a message that is no event of the registry stood here"}'

REBUILD = "imi-registry rebuild-stream (with the --state-dir of up, if it had one)"
"""The command that publishes a lost stream again."""


class StreamLost(Conflict):
    """The stream ends before what was already published into it: it was re-created or restored from an old backup."""


class EventStream:
    """One JetStream stream that relays alone write to."""

    def __init__(self, client: Client, profile: Profile, settings: Settings) -> None:
        self.name = profile.event_stream
        self._profile = profile
        self._client = client
        self._js: JetStreamContext = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)
        self._settings = settings
        self._is_atomic = False
        self._is_batch_proven = False
        self.is_replicated = False
        """Whether the stream has replicas, as it was looked at last."""
        self._acknowledgements = Acknowledgements(client, self.name)

    @property
    def profile(self) -> Profile:
        """The names in it; once it is open, as they are spoken there."""
        return self._profile

    @property
    def is_connected(self) -> bool:
        """Whether the connection to NATS stands, as far as is known."""
        return self._client.is_connected

    @property
    def max_payload(self) -> int:
        """The server's limit for headers and payload of one message, in bytes."""
        return self._client.max_payload

    @property
    def _placeholders(self) -> str:
        """The subject of messages that are deleted at once."""
        return self._profile.event_filter("registry", "placeholder", "-")

    def abandon(self) -> None:
        """Give up on all answers: the connection they would come by is gone."""
        self._acknowledgements.abandon()

    def silent(self) -> Unavailable:
        """The error of a request that was not answered in time."""
        refusal = refusal_of(self._client)
        if refusal is not None:
            return Unprepared(f"cannot publish to stream {self.name}: {refusal}")
        return Unavailable(
            f"stream {self.name} does not acknowledge; see the log of nats-server: once a write failed there, as on a "
            "full disk, it stores nothing more in the stream until it is restarted"
        )

    async def open(self) -> None:
        """Create the stream, or check the one that exists; then be ready to publish.

        Raises `Conflict` naming each setting in which an existing stream differs (it is never altered), `Unavailable`.
        """
        try:
            with translated_nats(f"cannot read stream {self.name}"):
                config = (await self._js.stream_info(self.name)).config
        except NotFound:
            config = await self._create()
        self.check(config)
        self._is_atomic = bool(config.allow_atomic)
        self.is_replicated = is_replicated(config)
        await self._acknowledgements.open()

    async def last_sequence(self) -> int:
        """Sequence of the last message, or the highest there ever was. Raises `Unavailable`."""
        with translated_nats(f"cannot read stream {self.name}"):
            found = await self._js.stream_info(self.name)
        self.is_replicated = is_replicated(found.config)
        return found.state.last_seq

    async def send(self, messages: Sequence[Message], expected: int) -> asyncio.Future[int]:
        """Send `messages` (1 to 1,000) to be stored in this order, directly behind sequence `expected`.

        Returns a future of the stream's new last sequence. It, or this call, raises `StreamMoved` when the stream ends
        elsewhere, `Unavailable` when no answer tells; then the messages may or may not be stored, and `tail` knows.
        Of an atomic batch all are stored or none; of requests of their own a first part may be.
        """
        if self._is_atomic and not self._is_sooner_each(messages):
            return await self._send_batch(messages, expected)
        return await self._send_each(messages, expected)

    def _is_sooner_each(self, messages: Sequence[Message]) -> bool:
        """Whether `messages` are few, and none belongs with another: then requests are answered before a batch is.

        With replicas a server compares the last message's id with what is stored, not with what is under way.
        """
        if len(messages) > FEW or (len(messages) > 1 and self.is_replicated):
            return False
        applied = {message.transaction_id for message in messages if message.outcome_of is not None}
        changes = [message for message in messages if message.outcome_of is None]
        # Commands share a transaction and do not belong together: what one of them changed does; its outcome follows.
        units = {
            (each.transaction_id, each.causation_id if each.transaction_id in applied else None) for each in changes
        }
        return len(units) == len(changes)

    async def _send_batch(self, messages: Sequence[Message], expected: int) -> asyncio.Future[int]:
        """All or none, and one answer. Where the server turns out to refuse such batches, requests from then on.

        nats-server 2.12.0 has batches and refuses every message with an id in them: only the first answer tells.
        """
        reply, outcome = self._acknowledgements.expect(1, expected, expected + len(messages))
        await self._write(atomic_batch(messages, expected, reply))
        if not self._is_batch_proven:
            await asyncio.wait([outcome], timeout=REQUEST_TIMEOUT_SECONDS)
            if outcome.done() and isinstance(outcome.exception(), BatchRefused):
                self._say_once("the server takes no ids in atomic batches: each message goes alone")
                self._is_atomic = False
                return await self._send_each(messages, expected)
            self._is_batch_proven = True
        return outcome

    async def _send_each(self, messages: Sequence[Message], expected: int) -> asyncio.Future[int]:
        """One request a message, all under way at once: each is refused unless the one before it was stored.

        The sequence alone does not say so: somebody else's message may take the place of one that is refused, and the
        next would follow it.
        """
        reply, outcome = self._acknowledgements.expect(len(messages), expected, expected + len(messages))
        await self._write(one_by_one(messages, expected, reply))
        return outcome

    async def hold_places(self, last: int, until: int) -> int:
        """Move the end of the stream from sequence `last` to `until`; returns where it ends then.

        Where a message stood that is no event of the outbox, a deleted one takes its place. Raises `Unavailable`.
        """
        try:
            with translated_nats(f"cannot publish to stream {self.name}"):
                while last < until:
                    headers = {LAST_SEQUENCE: str(last)}
                    last = (await self._js.publish(self._placeholders, PLACEHOLDER, headers=headers)).seq
                    await self._js.delete_msg(self.name, last)
        except Conflict as error:  # somebody else wrote to the stream
            raise Unavailable(str(error)) from error
        return last

    async def delete_placeholder(self) -> None:
        """Delete the message that stayed where `hold_places` was interrupted before it did. Raises `Unavailable`."""
        with suppress(NotFound), translated_nats(f"cannot read stream {self.name}"):
            found = await self._js.get_last_msg(self.name, self._placeholders)
            if found.seq is not None and found.data == PLACEHOLDER:
                await self._js.delete_msg(self.name, found.seq)

    async def begin_behind(self, sequence: int) -> int:
        """Let the empty stream begin as if it had lost its messages up to `sequence` to its limits."""
        with translated_nats(f"cannot prepare stream {self.name}"):
            await self._js.purge_stream(self.name, seq=sequence + 1)
        return await self.last_sequence()

    async def tail(self, after: int) -> AsyncGenerator[list[Stored], None]:
        """Pages of the messages with a sequence above `after`, in order, up to where the stream ended at first or more.

        Headers only. Raises `Unavailable` when it cannot be read so far.
        """
        with translated_nats(f"cannot read the tail of stream {self.name}"):
            async with aclosing(tail_of(self._js, self._profile, after)) as pages:
                async for page in pages:
                    yield page

    async def _create(self) -> StreamConfig:
        with translated_nats(f"cannot create stream {self.name}"):
            return (await self._js.add_stream(self._wanted())).config

    def _wanted(self) -> StreamConfig:
        return StreamConfig(
            name=self.name,
            description="Events of the iMi project registry, one per change, in order",
            subjects=[self._profile.event_subjects],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=self._settings.stream_replicas,
            max_age=round(self._settings.stream_max_age_days * 86400, AGE_DIGITS),
            max_bytes=self._settings.stream_max_bytes,
            allow_direct=True,
            allow_atomic=True,  # a server that does not know it leaves it out
        )

    def check(self, found: StreamConfig) -> None:
        """Raise `Conflict` for a configuration that cannot carry the registry's events."""
        wanted = self._wanted()
        pairs = {
            "subjects": (found.subjects, wanted.subjects),
            "retention": (found.retention, wanted.retention),
            "storage": (found.storage, wanted.storage),
            "num_replicas": (found.num_replicas, wanted.num_replicas),
            "max_age (s)": (round(found.max_age or 0, AGE_DIGITS), wanted.max_age),
            "max_bytes": (found.max_bytes, wanted.max_bytes),
            "allow_atomic": (bool(found.allow_atomic), _has_batches(found)),
            "allow_direct": (bool(found.allow_direct), wanted.allow_direct),
            "sealed": (found.sealed, False),
            "mirror": (found.mirror, None),
            "sources": (found.sources or None, None),
        }
        differing = {
            name: f"{name} is {_printable(actual)}, expected {_printable(expected)}"
            for name, (actual, expected) in pairs.items()
            if actual != expected
        }
        if differing.keys() == {"allow_atomic"} and not found.allow_atomic:  # made before the server was upgraded
            self._say_once("each message goes alone, batches would be faster: edit the stream", **differing)
        elif differing:
            raise Conflict(
                f"stream {self.name} exists with another configuration: {'; '.join(differing.values())}; "
                "edit the stream or the IMI_STREAM_… settings, it is not altered here"
            )

    async def _write(self, commands: Iterable[bytes]) -> None:
        with translated_nats(f"cannot publish to stream {self.name}"):
            await write(self._client, commands)

    def _say_once(self, text: str, **fields: object) -> None:
        """Log what is found anew at each opening, and so with each try of an outage, the first time."""
        if (self.name, text) not in _said:
            _said.add((self.name, text))
            log.warning(text, stream=self.name, **fields)


def _has_batches(found: StreamConfig) -> bool:
    """Whether the server of this stream knows atomic batches."""
    return int((found.metadata or {}).get(API_LEVEL, 0)) >= BATCH_LEVEL


def _printable(value: object) -> str:
    return str(getattr(value, "value", value))
