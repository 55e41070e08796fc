"""Deliveries of a pull consumer in the order the server made them, or an error once one may be missing."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_ENDED
from registry.broker.permitted import api_of, refusal_of
from registry.concurrency.ticks import tick
from registry.errors import Unavailable, Unprepared

ASK_SECONDS = 1.0
"""A reader asks for messages this often: that is how others see that it is there."""
GONE_SECONDS = 1.5
"""A reader that was seen not to ask for so long is gone."""
MOST_UNANSWERED = 5
"""The server answers a request that ran out; a reader that asked so often and heard nothing is not heard either."""
LONGEST_SECONDS = 24 * 3600.0
"""`ack_wait` of our consumers. The server's own redelivery would change the order: a new consumer redelivers."""
ANSWERED_WITHIN = 3
"""A request is answered before so many more are made, with what there is or at its end, where it was not refused."""
NOTHING_TO_READ = {"404", "408"}
"""Status of a request that ran out."""
LEAST_BYTES, ROUND_A_MESSAGE = 4 * 1024 * 1024, 64 * 1024
"""One request brings so many bytes, or one message. The server cuts off who has not taken 64 MiB, and some are under
way at a time: one a second, one behind each that is used up, and so many of small messages as the window has."""


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
        self._received: asyncio.Queue[Msg | Unavailable] = asyncio.Queue()
        self._reconnects = client.stats["reconnects"]
        self._since_asked = 0
        self._unanswered = 0
        self._refused_before: Exception | None = None
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
            while True:
                self._check_connection()
                self._unanswered += 1
                await self._ask()
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
        if refusal is not self._refused_before and self._unanswered >= ANSWERED_WITHIN:
            raise Unprepared(f"cannot read stream {self._stream}: {refusal}")
        if self._unanswered >= MOST_UNANSWERED:
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
        """Ask for a whole window; requests may overlap, the server keeps to the consumer's limit."""
        self._since_asked = 0
        self._requests += 1
        self._bytes = max(self._bytes, self._client.max_payload + ROUND_A_MESSAGE)
        request = {"batch": self._window, "max_bytes": self._bytes, "expires": int(2 * ASK_SECONDS * 1e9)}
        with translated_nats(f"cannot read stream {self._stream}"):
            await self._client.publish(self._subject, orjson.dumps(request), reply=f"{self._inbox}.{self._requests}")

    async def _on_message(self, message: Msg) -> None:
        self._unanswered = 0
        if not message.reply:
            await self._on_status(message)
            return
        number = message.metadata.sequence.consumer
        if number != self.delivered + 1:
            self._received.put_nowait(Unavailable(f"a delivery of stream {self._stream} was lost"))
            return
        self.delivered = number
        self._received.put_nowait(message)
        self._since_asked += 1
        if self._since_asked >= self._window // 2:
            await self._ask()

    async def _on_status(self, message: Msg) -> None:
        headers = message.headers or {}
        status, description = headers.get("Status", ""), headers.get("Description", "")
        if (status, description) in REQUEST_ENDED:
            if message.subject == f"{self._inbox}.{self._requests}":  # no other is under way
                if not self._since_asked:  # the next message is larger than the server takes now
                    self._bytes *= 2
                await self._ask()
        elif status not in NOTHING_TO_READ:
            self._received.put_nowait(Unavailable(f"stream {self._stream} gives this reader no more ({status})"))
