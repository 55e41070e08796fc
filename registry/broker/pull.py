"""Deliveries of a pull consumer in the order the server made them, or an error once one may be missing."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerInfo

from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_ENDED
from registry.broker.permitted import api_of, refusal_of
from registry.concurrency.ticks import tick
from registry.errors import Unavailable, Unprepared

ASK_SECONDS = 1.0
"""A reader asks anew when what it asked for has come, and at least this often: that is how others see that it is there,
where nobody waits by what is delivered meanwhile."""
GONE_SECONDS = 1.5
"""A reader that was seen for so long not to wait, and to which nothing is delivered, is gone."""
SILENT_SECONDS = 5
"""The server answers a request that ran out; a reader that heard nothing for so long is not heard either."""
LONGEST_SECONDS = 24 * 3600.0
"""`ack_wait` of our consumers. The server's own redelivery would change the order: a new consumer redelivers."""
ANSWERED_SECONDS = 3
"""Within so long a request is answered, with what there is or at its end, where it was not refused, nor lost with the
server that had it."""
NOTHING_TO_READ = {"404", "408"}
"""Status of a request that ran out."""
SIZE = "Nats-Msg-Size"
"""Header of a delivery whose data the consumer leaves out."""
TOO_LARGE = ("409", "Message Size Exceeds MaxBytes")
LIMITED = "Exceeded MaxRequest"
"""With this begins the description of why a consumer serves no request of ours: somebody gave it a limit."""
LEAST_BYTES = 1024 * 1024
"""One request brings so many bytes, or one message. No other is made before that: the server cuts off who has not
taken 64 MiB, or what it sent ten seconds ago."""


def delivered_of(info: ConsumerInfo) -> int:
    """Consumer sequence of the last delivery that the server has made; 0 for none."""
    return info.delivered.consumer_seq if info.delivered else 0


class Pull:
    """Reads one consumer, whose `max_ack_pending` bounds what is in hand. `run` has to run beside `next`."""

    def __init__(self, client: Client, stream: str, consumer: str, window: int, *, delivered: int = 0) -> None:
        self._client = client
        self._stream = stream
        self._subject = f"{api_of(client)}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._window = window
        self._bytes = LEAST_BYTES
        self._inbox = client.new_inbox()
        self._requests = 0
        """The last one has this number."""
        self._received: asyncio.Queue[Msg | Unavailable] = asyncio.Queue()
        self._reconnects = client.stats["reconnects"]
        self._left = 0
        """Messages that the last request may still bring."""
        self._silent_seconds = 0
        self._refused_before: Exception | None = None
        self.is_limited = False
        """Whether the consumer serves no request of this size: it is not as it was made."""
        self.delivered = delivered
        """Consumer sequence of the last delivery that came; at first, of the last one made before."""

    async def run(self) -> None:
        """Ask for messages until cancelled. Raises `Unavailable` once a delivery may have been lost."""
        self._refused_before = self._refusal()
        with translated_nats(f"cannot read stream {self._stream}"):
            subscription = await self._client.subscribe(
                f"{self._inbox}.*", cb=self._on_message, pending_msgs_limit=0, pending_bytes_limit=0
            )
        try:
            await self._ask()
            while True:
                self._check_connection()
                if self._silent_seconds == ANSWERED_SECONDS:
                    await self._ask()
                self._silent_seconds += 1
                await tick(ASK_SECONDS)
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def next(self) -> Msg:
        """Wait for the next message. Raises `Unavailable` when the consumer or a delivery is gone: it was the last."""
        received = await self._received.get()
        if isinstance(received, Unavailable):
            raise received
        return received

    def abandon(self) -> None:
        """End `next`: the connection is gone."""
        self._received.put_nowait(self._lost_connection())

    def _check_connection(self) -> None:
        """Raise `Unavailable` when what was sent since the start, in either direction, may not have arrived."""
        if not self._client.is_connected or self._client.stats["reconnects"] != self._reconnects:
            raise self._lost_connection()
        refusal = self._refusal()
        if refusal is not None and refusal is not self._refused_before and self._silent_seconds >= ANSWERED_SECONDS:
            raise Unprepared(f"cannot read stream {self._stream}: {refusal}")
        if self._silent_seconds >= SILENT_SECONDS:
            raise Unavailable(f"NATS is silent: stream {self._stream} does not answer its reader")

    def _refusal(self) -> Exception | None:
        """What the server refused last of these subjects.

        It may be of an earlier reader of the same consumer; or of one that differs in upper and lower case alone, which
        nats-py does not tell apart, and of which this one is known by the answers that it gets.
        """
        return refusal_of(self._client, self._subject, f"{self._inbox}.*")

    def _lost_connection(self) -> Unavailable:
        return Unavailable(f"lost the connection to NATS while reading stream {self._stream}")

    async def _ask(self) -> None:
        """Ask for a whole window; the server keeps to the consumer's limit."""
        self._left = self._window
        self._requests += 1
        request = {"batch": self._window, "max_bytes": self._bytes, "expires": int(ASK_SECONDS * 1e9)}
        with translated_nats(f"cannot read stream {self._stream}"):
            await self._client.publish(self._subject, orjson.dumps(request), reply=f"{self._inbox}.{self._requests}")

    async def _on_message(self, message: Msg) -> None:
        self._silent_seconds = 0
        if not message.reply:
            await self._on_status(message)
            return
        number = message.metadata.sequence.consumer
        if number != self.delivered + 1:
            self._received.put_nowait(Unavailable(f"a delivery of stream {self._stream} was lost"))
            return
        self.delivered = number
        self._received.put_nowait(message)
        self._left -= 1
        if self._left == 0:
            await self._ask()

    async def _on_status(self, message: Msg) -> None:
        headers = message.headers or {}
        status, description = headers.get("Status", ""), headers.get("Description", "")
        if status not in NOTHING_TO_READ and (status, description) not in REQUEST_ENDED:
            self.is_limited |= description.startswith(LIMITED)
            told = f"{status} {description}".strip()
            self._received.put_nowait(Unavailable(f"stream {self._stream} gives this reader no more ({told})"))
            return
        if message.subject != f"{self._inbox}.{self._requests}":
            return  # of a request that was given up
        if (status, description) == TOO_LARGE and self._left == self._window:
            self._bytes *= 2  # it could not bring even one
        await self._ask()
