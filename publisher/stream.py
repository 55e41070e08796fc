"""The event stream in JetStream: its configuration, fenced publishing, and its tail.

Every publish carries the sequence the stream must end at, so a second writer, or a message of ours that was believed
lost and arrives late, is refused by the server. Protocol: NATS ADR-50 (atomic batches); our argument:
docs/adr/0001-outbox-and-relay.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import uuid4

import nats.errors
import nats.js.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from registry.broker import connect_nats, from_nats
from registry.envelope import OUTBOX_ID_HEADER, Message
from registry.errors import Conflict, RegistryError, Unavailable
from registry.settings import Settings
from registry.subjects import Names

REQUEST_TIMEOUT_SECONDS = 5.0

WRONG_LAST_SEQUENCE = {10071, 10164}
"""`err_code`: the stream does not end where the publisher believes (10164: the same, told by a clustered stream)."""
DUPLICATE_IN_BATCH = 10201
"""`err_code`: a `Nats-Msg-Id` of the batch is in the stream's dedupe window."""

TAIL_FETCH = 500
"""Messages asked for at a time when the tail is read."""


class StreamMoved(RegistryError):
    """The stream ends at another sequence than expected: read its tail, then go on."""


class StreamLost(Conflict):
    """The stream ends before what was already published into it: it was re-created or restored from an old backup."""


class Awaited(NamedTuple):
    """A request under way: who waits for its answer, and where the stream ended before it."""

    answer: asyncio.Future[int]
    expected: int


class Stored(NamedTuple):
    """A message in the stream, as far as the publisher needs to recognise it."""

    sequence: int
    outbox_id: int | None
    event_id: str | None


@asynccontextmanager
async def open_stream(nats_url: str, name: str, names: Names, settings: Settings) -> AsyncIterator[EventStream]:
    """Connect to NATS as `name` and open the event stream, creating it when absent.

    Raises `Conflict` when a stream of that name has another configuration, `Unavailable` when NATS cannot be reached.
    The connection is not restored when it is lost: every answer still awaited raises `Unavailable` at once.
    """
    stream: EventStream | None = None

    async def on_closed() -> None:
        if stream is not None:
            stream.abandon()

    async with connect_nats(nats_url, name, reconnect=False, on_closed=on_closed) as client:
        stream = EventStream(client, names, settings)
        await stream.open()
        yield stream


class EventStream:
    """One JetStream stream that this publisher alone writes to."""

    def __init__(self, client: Client, names: Names, settings: Settings) -> None:
        self.name = names.event_stream
        self._client = client
        self._js: JetStreamContext = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)
        self._wanted = StreamConfig(
            name=self.name,
            description="Events of the iMi project registry, one per change, in order",
            subjects=[names.event_subjects],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=settings.stream_replicas,
            max_age=settings.stream_max_age_days * 86400,
            max_bytes=settings.stream_max_bytes,
            allow_direct=True,
            allow_atomic=True,
        )
        self._inbox = client.new_inbox()
        self._awaited: dict[str, Awaited] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the connection to NATS stands, as far as is known."""
        return self._client.is_connected

    @property
    def max_payload(self) -> int:
        """The server's limit for headers and payload of one message, in bytes."""
        return self._client.max_payload

    def abandon(self) -> None:
        """Give up on all answers: the connection they would come by is gone."""
        for awaited in self._awaited.values():
            if not awaited.answer.done():
                awaited.answer.set_exception(Unavailable(f"the connection to stream {self.name} was lost"))
        self._awaited.clear()

    async def open(self) -> None:
        """Create the stream, or check the one that exists; then be ready to publish.

        Raises `Conflict` naming each setting in which an existing stream differs (it is never altered), `Unavailable`.
        """
        try:
            info = await self._js.stream_info(self.name)
        except nats.js.errors.NotFoundError:
            await self._create()
        except (nats.errors.Error, TimeoutError) as error:
            raise from_nats(error, f"cannot read stream {self.name}") from error
        else:
            self._check(info.config)
        await self._client.subscribe(f"{self._inbox}.*", cb=self._on_answer)

    async def last_sequence(self) -> int:
        """Sequence of the last message, or the highest there ever was. Raises `Unavailable`."""
        try:
            return (await self._js.stream_info(self.name)).state.last_seq
        except (nats.errors.Error, TimeoutError) as error:
            raise from_nats(error, f"cannot read stream {self.name}") from error

    async def send(self, messages: Sequence[Message], expected: int) -> asyncio.Future[int]:
        """Send `messages` (1 to 1,000) to be stored all or none, directly behind sequence `expected`.

        Returns a future of the stream's new last sequence. It, or this call, raises `StreamMoved` when the stream ends
        elsewhere, `Unavailable` when no answer tells; then the messages may or may not be stored, and `tail` knows.
        """
        last = len(messages)
        batch_id = uuid4().hex
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        reply = f"{self._inbox}.{batch_id}"
        answer.add_done_callback(_retrieved)
        self._awaited[reply] = Awaited(answer, expected)
        try:
            for number, message in enumerate(messages, start=1):
                headers = message.headers
                if number == 1:
                    headers["Nats-Expected-Last-Sequence"] = str(expected)
                # A batch has a fixed cost (2.6 ms against 0.3 ms), so one message goes without.
                if last > 1:
                    headers["Nats-Batch-Id"] = batch_id
                    headers["Nats-Batch-Sequence"] = str(number)
                    if number == last:
                        headers["Nats-Batch-Commit"] = "1"
                await self._client.publish(
                    message.subject, message.payload, reply=reply if number == last else "", headers=headers
                )
        except nats.errors.Error as error:
            self._awaited.pop(reply, None)
            raise from_nats(error, f"cannot publish to stream {self.name}") from error
        return answer

    async def tail(self, after: int) -> AsyncIterator[list[Stored]]:
        """Pages of all messages with a sequence above `after`, in order, up to the end of the stream.

        Headers only. Raises `Unavailable` when it cannot be read to its end.
        """
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            ack_policy=AckPolicy.NONE,
            headers_only=True,
            mem_storage=True,
            inactive_threshold=30,
        )
        doing = f"cannot read the tail of stream {self.name}"
        try:
            subscription = await self._js.pull_subscribe("", stream=self.name, config=config)
            pending = (await subscription.consumer_info()).num_pending or 0
            while pending:
                page = await subscription.fetch(min(pending, TAIL_FETCH), timeout=REQUEST_TIMEOUT_SECONDS)
                yield [_stored(message) for message in page]
                pending = page[-1].metadata.num_pending
            await subscription.unsubscribe()
        except (nats.errors.Error, TimeoutError) as error:
            raise from_nats(error, doing) from error

    async def _create(self) -> None:
        try:
            await self._js.add_stream(self._wanted)
        except (nats.errors.Error, TimeoutError) as error:
            raise from_nats(error, f"cannot create stream {self.name}") from error

    def _check(self, found: StreamConfig) -> None:
        wanted = self._wanted
        pairs = {
            "subjects": (found.subjects, wanted.subjects),
            "retention": (found.retention, wanted.retention),
            "storage": (found.storage, wanted.storage),
            "num_replicas": (found.num_replicas, wanted.num_replicas),
            "max_age (s)": (found.max_age or 0, wanted.max_age),
            "max_bytes": (found.max_bytes, wanted.max_bytes),
            "allow_atomic": (bool(found.allow_atomic), wanted.allow_atomic),
            "allow_direct": (bool(found.allow_direct), wanted.allow_direct),
            "sealed": (found.sealed, False),
            "mirror": (found.mirror, None),
            "sources": (found.sources or None, None),
        }
        differing = [
            f"{name} is {_shown(is_)}, expected {_shown(ought)}" for name, (is_, ought) in pairs.items() if is_ != ought
        ]
        if differing:
            raise Conflict(
                f"stream {self.name} exists with another configuration: {'; '.join(differing)}; "
                "edit the stream or the IMI_STREAM_… settings, it is not altered here"
            )

    async def _on_answer(self, message: Msg) -> None:
        awaited = self._awaited.pop(message.subject, None)
        if awaited is None or awaited.answer.done():
            return
        try:
            awaited.answer.set_result(self._last_sequence(message, awaited.expected))
        except RegistryError as error:
            awaited.answer.set_exception(error)

    def _last_sequence(self, message: Msg, expected: int) -> int:
        """Where the stream ends after a publish acknowledgement. Raises the error it tells."""
        if not message.data:  # a status line: 503, nobody listens on the subject
            raise Unavailable(f"cannot publish to stream {self.name}: no stream takes the subject")
        ack = orjson.loads(message.data)
        problem = ack.get("error")
        if problem is None:
            # A duplicate was stored before, and its sequence is the one it had then: nothing was added now.
            return expected if ack.get("duplicate") else int(ack["seq"])
        text = f"cannot publish to stream {self.name}: {problem.get('description')} ({problem.get('err_code')})"
        if problem.get("err_code") in WRONG_LAST_SEQUENCE | {DUPLICATE_IN_BATCH}:
            raise StreamMoved(text)
        raise Unavailable(text)


def _stored(message: Msg) -> Stored:
    headers = message.headers or {}
    outbox_id = headers.get(OUTBOX_ID_HEADER, "")
    return Stored(
        message.metadata.sequence.stream,
        int(outbox_id) if outbox_id.isdecimal() else None,
        headers.get("Nats-Msg-Id"),
    )


def _shown(value: object) -> str:
    return str(getattr(value, "value", value))


def _retrieved(answer: asyncio.Future[int]) -> None:
    """Mark the outcome as seen: when another error came first nobody awaits it, and asyncio would log that."""
    if not answer.cancelled():
        answer.exception()
