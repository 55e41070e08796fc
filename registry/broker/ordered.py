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
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_ENDED, REQUEST_TIMEOUT_SECONDS
from registry.broker.permitted import api_of, refusal_of
from registry.broker.stream import Extent
from registry.concurrency.backoff import doubled
from registry.concurrency.tasks import unless
from registry.errors import Unavailable, Unprepared

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
        self._extent = Extent(self._js, stream, keeps_sequences=keeps_sequences)
        self._batch_bytes = max(BATCH_BYTES, 2 * client.max_payload)
        self._inbox = client.new_inbox()
        self._consumer = ""
        self._received: list[Stored] = []
        self._arrived = asyncio.Event()
        self._delivered = self._asked = self._pending = 0
        self._is_broken = False
        self._is_end_announced = False
        self._bound: int | None = None
        """Sequence up to which is read before it is said that there is no more now."""
        self._heard_at = monotonic()
        self._connections = 0
        self.position = 0
        """Sequence of the last message given out, or the place before the first."""
        self.reached = 0
        """Sequence up to which all that the leader had was given out, when it was last said that there is no more."""
        self.end: int | None = None
        """Sequence up to which is read, which the stream had when that was set; None where there is no end."""

    async def start(self, after: int | datetime) -> None:
        """Read what stands behind a sequence, or was stored at or after a time; sets `position`.

        Raises `NotFound` when there is no such stream, `Conflict` when it ends before that sequence, `Unavailable`.
        """
        if isinstance(after, int):
            self.position = after
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
        state = (await self._extent.info()).state
        return state.first_seq, state.last_seq

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
                await self.patiently(self._check_end)
                if self._received or self._pending or self._is_broken:
                    continue
                self._is_end_announced = True
                return []
            await self._ask()
            with suppress(TimeoutError):
                async with asyncio.timeout(WAKE_SECONDS):
                    await self._arrived.wait()
            self._check_permission()
            self._is_broken = self._is_broken or monotonic() - self._heard_at > SILENCE_SECONDS

    async def _check_end(self) -> None:
        """Read by another consumer where the leader has more, up to the end; raise `Unavailable` while it is behind."""
        self._is_broken = self._is_broken or self._client.stats["reconnects"] != self._connections
        if not await unless(self._has_news, self._arrived, self._goes_on()):
            return
        await unless(self._has_news, self._arrived, asyncio.sleep(WAKE_SECONDS))
        if self._has_news():
            return
        await self.close()
        self._is_broken = True
        await self._create()
        if self._pending == 0:
            raise Unavailable(f"the replica of stream {self._stream} that is read from is behind")

    def _has_news(self) -> bool:
        """Whether something came, or nothing more can by this consumer."""
        return bool(self._received) or self._is_broken

    async def _goes_on(self) -> bool:
        """Whether the leader has more, up to the end, or where the stream ended when it was asked first."""
        if self._bound is None:
            self._bound = await self._extent.end() if self.end is None else self.end
        if await self._extent.goes_on(self._subject, self.position, self._bound):
            return True
        self.reached = self.position if self._extent.is_closed else max(self.position, self._bound)
        self._bound = None
        return False

    def _check_permission(self) -> None:
        """Raise `Unprepared` when nothing comes since it may not be asked for."""
        refusal = refusal_of(self._client, self._next_subject())
        if refusal is not None:
            raise Unprepared(f"cannot read stream {self._stream}: {refusal}")

    def _next_subject(self) -> str:
        return f"{api_of(self._client)}.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"

    async def close(self) -> None:
        """Remove the consumer; one that cannot be reached goes by itself."""
        await self._extent.close()
        if self._consumer and self._client.is_connected:
            with suppress(nats.errors.Error, TimeoutError):
                await self._js.delete_consumer(self._stream, self._consumer)

    async def _create(self, since: datetime | None = None, *, is_asking: bool = True) -> None:
        self._connections = self._client.stats["reconnects"]
        if is_asking:
            await self._extent.check(max(self.position if since is None else 0, self.end or 0))
        self._consumer, self._bound = "", None
        self._is_end_announced = False  # what came and went meanwhile only the record has
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
        if int(sequence) > self.position:  # on a replica that is behind it, a consumer begins at the replica's end
            self._received.append(Stored(int(sequence), message.subject, message.data, message.headers or {}))

    def _on_status(self, headers: dict[str, str]) -> None:
        status = headers.get("Status", "")
        if (status, headers.get("Description", "")) in REQUEST_ENDED:
            self._asked -= int(headers.get("Nats-Pending-Messages", BATCH))
        elif status != _HEARTBEAT or (told := int(headers.get("Nats-Last-Consumer", -1))) > self._delivered:
            self._is_broken = True
        elif told == self._delivered:
            self._pending = 0  # the server finds nothing to deliver: what it counted is gone by now


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
