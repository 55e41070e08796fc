"""A stream read in order: an ephemeral pull consumer that is replaced, behind the last message seen, when it fails.

Pull requests overlap, so that the server always has one to serve. Anything that may have lost a message (a hole in the
consumer's own count, a status that ends it, silence, a new connection) leads to a new consumer, never to a gap.
Protocol: NATS ADR-13 (pull), ADR-37 (ordered consumer).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from time import monotonic
from typing import NamedTuple, TypeVar
from uuid import uuid4

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamInfo

from registry.broker.errors import no_stream, translated_nats
from registry.broker.jetstream import REQUEST_ENDED, REQUEST_TIMEOUT_SECONDS
from registry.broker.permitted import api_of, refusal_of
from registry.concurrency.backoff import doubled
from registry.concurrency.outage import Outage
from registry.errors import Conflict, NotFound, Unavailable, Unprepared

BATCH = 1000
"""Messages asked for at a time; up to one and a half times as many are held."""
BATCH_BYTES = 8 * 1024 * 1024
"""The server sends no more than this for one request, unless one message is larger."""
HEARTBEAT_SECONDS = 2.0
EXPIRES_SECONDS = 30.0
SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS
"""A consumer of which nothing was heard for so long is replaced."""
INACTIVE_SECONDS = 120.0
"""The server removes a consumer that asks for nothing for so long."""
COUNTED_SECONDS = 1.0
"""So does it with one that is made to count, of which there are dozens at once: a stream takes only so many."""
WAKE_SECONDS = 0.5
"""How often a waiting reader looks whether the connection is a new one."""
RETRY_SECONDS = (0.1, 2.0)
BEHIND_SECONDS = 20.0
"""How long a stream that mirrors another is waited for; it is behind by milliseconds while its server can follow."""
T = TypeVar("T")
_HEARTBEAT = "100"


class Stored(NamedTuple):
    """A message as the stream holds it."""

    sequence: int
    subject: str
    payload: bytes
    headers: dict[str, str]


class OrderedReader:
    """Messages of one stream and subject filter, in order, from one place on. Open it with `ordered_reader`."""

    def __init__(
        self, client: Client, stream: str, subject: str, patience_seconds: float | None, *, keeps_sequences: bool
    ) -> None:
        self._client = client
        self._js = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)
        self._stream = stream
        self._subject = subject
        self._patience_seconds = patience_seconds
        self._keeps_sequences = keeps_sequences
        self._created: datetime | None = None
        """When the stream was created that `position` was reached in."""
        self._outage = Outage("reader", stream=stream)
        self._batch_bytes = max(BATCH_BYTES, 2 * client.max_payload)
        self._inbox = client.new_inbox()
        self._consumer = ""
        self._received: list[Stored] = []
        self._arrived = asyncio.Event()
        self._delivered = self._asked = self._pending = 0
        self._is_broken = False
        self._is_end_announced = False
        self._heard_at = monotonic()
        self._connections = 0
        self.position = 0
        """Sequence of the last message given out, or the place before the first."""
        self.end: int | None = None
        """Sequence up to which is read, which the stream had when that was set; None where there is no end."""

    async def start(self, after: int | datetime) -> None:
        """Read what stands behind a sequence, or was stored at or after a time; sets `position`.

        Raises `NotFound` when there is no such stream, `Conflict` when it ends before that sequence, `Unavailable`.
        """
        if isinstance(after, int):
            self.position = after
        self._is_end_announced = False
        await self._create(after if isinstance(after, datetime) else None)

    async def behind(self, sequence: int) -> int:
        """How many matching messages the stream holds behind a sequence; `start` reads on.

        Raises `NotFound` when there is no such stream, `Unavailable`.
        """
        self.position = sequence
        await self._create(is_asking=False)
        return self._pending

    async def patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns; tried again while it raises `Unavailable`, until the patience is over."""
        began = monotonic()
        failures = 0
        while True:
            try:
                return await work()
            except Unavailable:
                if self._patience_seconds is not None and monotonic() - began > self._patience_seconds:
                    raise
            await asyncio.sleep(doubled(failures, RETRY_SECONDS))
            failures += 1

    async def state(self) -> tuple[int, int]:
        """Sequences of the first and the last message of the stream. Raises `NotFound`, `Unavailable`."""
        state = (await self._info()).state
        return state.first_seq, state.last_seq

    async def _info(self) -> StreamInfo:
        try:
            with translated_nats(f"cannot read stream {self._stream}"):
                return await self._js.stream_info(self._stream)
        except NotFound as error:
            raise no_stream(self._stream) from error

    async def next(self) -> list[Stored]:
        """The next messages, at least one; or none, once, when the stream has no more now.

        Raises what `start` does, `Unavailable` only after the patience given, `Unprepared` when it may not be asked.
        """
        while True:
            self._arrived.clear()
            if self._received:
                messages, self._received = self._received, []
                self.position = messages[-1].sequence
                self._is_end_announced = False
                await self._ask()
                return messages
            if self._is_broken or self._client.stats["reconnects"] != self._connections:
                await self.patiently(self._create)
                continue
            if self._pending == 0 and not self._is_end_announced:
                self._is_end_announced = True
                return []
            await self._ask()
            with suppress(TimeoutError):
                async with asyncio.timeout(WAKE_SECONDS):
                    await self._arrived.wait()
            self._check_permission()
            self._is_broken = self._is_broken or monotonic() - self._heard_at > SILENCE_SECONDS

    def _check_permission(self) -> None:
        """Raise `Unprepared` when nothing comes since it may not be asked for."""
        refusal = refusal_of(self._client, self._next_subject())
        if refusal is not None:
            raise Unprepared(f"cannot read stream {self._stream}: {refusal}")

    def _next_subject(self) -> str:
        return f"{api_of(self._client)}.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"

    async def close(self) -> None:
        """Remove the consumer; one that cannot be reached goes by itself."""
        if self._consumer and self._client.is_connected:
            with suppress(nats.errors.Error, TimeoutError):
                await self._js.delete_consumer(self._stream, self._consumer)

    async def _create(self, since: datetime | None = None, *, is_asking: bool = True) -> None:
        self._connections = self._client.stats["reconnects"]
        if is_asking:
            await self._reach(max(self.position if since is None else 0, self.end or 0))
        self._consumer = ""
        name = uuid4().hex
        start = (
            {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": self.position + 1}
            if since is None
            else {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": since.isoformat()}
        )
        config = ConsumerConfig(
            name=name,
            ack_policy=AckPolicy.NONE,
            filter_subject=self._subject,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=INACTIVE_SECONDS if is_asking else COUNTED_SECONDS,
            **start,
        )
        with translated_nats(f"cannot read stream {self._stream}"):
            info = await self._js.add_consumer(self._stream, config)
        if since is not None:
            self.position = info.delivered.stream_seq if info.delivered else 0
        self._received.clear()
        self._consumer, self._delivered, self._asked = name, 0, 0
        self._pending = info.num_pending or 0
        self._is_broken, self._heard_at = False, monotonic()
        if is_asking:
            await self._ask()

    async def _reach(self, position: int) -> None:
        """Check that the stream has what was read; one that mirrors another may be behind it, which is waited for.

        One that this reader has read so far has lost its end, as in a power failure. Where the same messages come back
        at the same sequences, which its publisher sees to, that is waited for, too, and said. Of one that was created
        since, or of which a token alone says how far it was read, nobody knows whether the same will ever stand there.

        Raises `Unavailable` for what is waited for, else `Conflict`.
        """
        began = monotonic()
        failures = 0
        while (info := await self._info()).state.last_seq < position:
            ends = f"stream {self._stream} ends at sequence {info.state.last_seq}, but {position} was read"
            if info.mirror is None and self._keeps_sequences and info.created == self._created:
                self._outage.failed(lost := Unavailable(f"{ends} from it: waiting for its publisher to complete it"))
                raise lost
            if info.mirror is None:
                was = "created anew or restored from a backup; imi-registry doctor tells what to do"
                raise Conflict(f"{ends} from it: it was {was}")
            if monotonic() - began > BEHIND_SECONDS:
                raise Unavailable(f"{ends} from what it mirrors: waiting for it")
            await asyncio.sleep(doubled(failures, RETRY_SECONDS))
            failures += 1
        is_another = position > 0 and self._created not in {None, info.created}
        if is_another and info.mirror is None and not self._keeps_sequences:
            raise Conflict(f"stream {self._stream} was created anew since {position} was read from it")
        self._created = info.created
        self._outage.over()

    async def _ask(self) -> None:
        """Keep enough asked for, while the consumer works."""
        if self._is_broken or self._asked > BATCH // 2:
            return
        request = {
            "batch": BATCH,
            "max_bytes": self._batch_bytes,
            "expires": int(EXPIRES_SECONDS * 1e9),
            "idle_heartbeat": int(HEARTBEAT_SECONDS * 1e9),
        }
        try:
            await self._client.publish(
                self._next_subject(), orjson.dumps(request), reply=f"{self._inbox}.{self._consumer}"
            )
        except nats.errors.Error:
            self._is_broken = True
        self._asked += BATCH

    async def _on_message(self, message: Msg) -> None:
        self._heard_at = monotonic()
        if message.reply.startswith("$JS.ACK."):
            self._on_stored(message)
        elif message.subject.endswith(self._consumer):
            self._on_status(message.headers or {})
        self._arrived.set()

    def _on_stored(self, message: Msg) -> None:
        # $JS.ACK.<domain>.<account>.<stream>.<consumer>.<tries>.<stream seq>.<consumer seq>.<time>.<pending>.<token>
        # and, from servers without domains, the same without the two and the token.
        tokens = message.reply.split(".")
        consumer, _, sequence, delivered, _, pending, *_ = tokens[3:] if len(tokens) == 9 else tokens[5:]
        if consumer != self._consumer or self._is_broken:
            return
        self._delivered += 1
        if int(delivered) != self._delivered:
            self._is_broken = True
            return
        self._asked -= 1
        self._pending = int(pending)
        self._received.append(Stored(int(sequence), message.subject, message.data, message.headers or {}))

    def _on_status(self, headers: dict[str, str]) -> None:
        status = headers.get("Status", "")
        if (status, headers.get("Description", "")) in REQUEST_ENDED:
            self._asked -= int(headers.get("Nats-Pending-Messages", BATCH))
        elif status != _HEARTBEAT:
            self._is_broken = True


@asynccontextmanager
async def ordered_reader(
    client: Client, stream: str, subject: str, *, patience_seconds: float | None, keeps_sequences: bool = False
) -> AsyncIterator[OrderedReader]:
    """A reader for the block; a server that is away for longer than `patience_seconds` ends it, None never does.

    With `keeps_sequences` what a stream loses comes back at the sequences that it had.
    """
    reader = OrderedReader(client, stream, subject, patience_seconds, keeps_sequences=keeps_sequences)
    subscription = await client.subscribe(f"{reader._inbox}.*", cb=reader._on_message)
    try:
        yield reader
    finally:
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()
        await reader.close()
