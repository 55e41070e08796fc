"""The acknowledgements of what was published: who waits for them, and what the server's error codes become."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import uuid4

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from registry.broker.errors import DUPLICATE_IN_BATCH, UNSUPPORTED_HEADER, WRONG_END
from registry.concurrency.tasks import retrieved
from registry.errors import RegistryError, Unavailable
from registry.validation import told


class BatchRefused(Unavailable):
    """The server takes no messages with an id in an atomic batch, as 2.12.0; none of the batch is stored."""


class StreamMoved(RegistryError):
    """The stream ends at another sequence than expected: read its tail, then go on."""


@dataclass
class Awaited:
    """A request under way: who waits for its outcome, what is still to be acknowledged, and where the stream ends."""

    outcome: asyncio.Future[int]
    acks: int
    last_sequence: int
    most: int | None


class Acknowledgements:
    """Awaits the answers to publish requests of one stream, by subjects of one inbox."""

    def __init__(self, client: Client, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._inbox = client.new_inbox()
        self._awaited: dict[str, Awaited] = {}

    async def open(self) -> None:
        """Begin to receive them."""
        await self._client.subscribe(f"{self._inbox}.>", cb=self._on_answer)

    def expect(self, acks: int, last_sequence: int, most: int | None = None) -> tuple[str, asyncio.Future[int]]:
        """A reply subject, and the future of the stream's last sequence once `acks` answers came there.

        It is at least `last_sequence`. One above `most` is that of a duplicate, behind messages that nobody looked at.
        Raises `StreamMoved`, `BatchRefused`, `Unavailable` as the first error tells.
        """
        outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        outcome.add_done_callback(retrieved)
        reply = f"{self._inbox}.{uuid4().hex}"
        self._awaited[reply] = Awaited(outcome, acks, last_sequence, most)
        return reply, outcome

    def abandon(self) -> None:
        """Give up on all answers: the connection they would come by is gone."""
        for awaited in self._awaited.values():
            if not awaited.outcome.done():
                awaited.outcome.set_exception(Unavailable(f"the connection to stream {self._stream} was lost"))
        self._awaited.clear()

    async def _on_answer(self, message: Msg) -> None:
        awaited = self._awaited.get(message.subject)
        if awaited is None or awaited.outcome.done():
            return
        try:
            sequence = stored_at(self._stream, message.data)
            if awaited.most is not None and sequence > awaited.most:
                raise StreamMoved(f"stream {self._stream} has it at sequence {sequence} already, behind its known end")
            awaited.last_sequence = max(awaited.last_sequence, sequence)
            awaited.acks -= 1
            if awaited.acks == 0:
                awaited.outcome.set_result(awaited.last_sequence)
        except RegistryError as error:
            awaited.outcome.set_exception(error)
        if awaited.outcome.done():
            del self._awaited[message.subject]


def stored_at(stream: str, answer: bytes) -> int:
    """The sequence in an acknowledgement; of a duplicate, the one it had before. Raises the error it tells."""
    if not answer:  # a status line: 503, nobody listens on the subject
        raise Unavailable(f"cannot publish to stream {stream}: no stream takes the subject")
    try:
        ack = orjson.loads(answer)
        problem = ack.get("error")
        if problem is None:
            return int(ack["seq"])
        said, code = told(str(problem.get("description"))), int(problem.get("err_code", 0))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unavailable(f"cannot publish to stream {stream}: what answered is no acknowledgement") from None
    text = f"cannot publish to stream {stream}: {said} ({code})"
    if code in WRONG_END | {DUPLICATE_IN_BATCH}:
        raise StreamMoved(text)
    if code == UNSUPPORTED_HEADER:
        raise BatchRefused(text)
    raise Unavailable(text)
