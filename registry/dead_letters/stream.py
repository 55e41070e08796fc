"""The stream of one subscription's dead letters: a message for each, and one for each that is to be handled once more.

And one for each event that fails and may become one, with its failures so far: a restart does not begin to count anew.
All are keyed by the id of the event: the same event buried again, or asked for again, takes the place of what was
there. No `Nats-Msg-Id` is sent, so nothing that is sent can be taken for a repetition and be dropped. When the stream
is full it takes no more: the event then stays with its subscription. docs/adr/0010-durable-subscriptions.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import orjson
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, RawStreamMsg, StorageType, StreamConfig

from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.broker.own_stream import open_own
from registry.broker.stored import delete_message, first_message
from registry.dead_letters.letter import DeadLetter, Redelivery, headers_of, letter_in, redelivery_in
from registry.errors import NotFound, Unavailable
from registry.subjects import LetterNames

MOST_MESSAGES = 10_000
"""In the stream: a subscription with so many dead letters has another trouble than poison."""
MOST_BYTES = 64 * 1024 * 1024
FREE_FOR_REQUESTS = 10
"""One of so many messages, and bytes, is for these: else nobody could ask for a letter of a full stream. Those who find
room at the same moment, as handlers that fail together, take some of it; there are fewer than that in hand."""
ANY = "*"
"""In place of the id of an event."""


class LetterStream:
    """Dead letters of the durable name `durable`."""

    def __init__(self, client: Client, names: LetterNames, durable: str) -> None:
        self.durable = durable
        self.name = names.stream(durable)
        self._names = names
        self._client = client
        self._js = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)

    async def open(self) -> None:
        """Create the stream when it is not there. Raises `Conflict` for one of somebody else, `Unavailable`."""
        config = StreamConfig(
            name=self.name,
            description=f"Events that the subscription {self.durable} could not handle, with the reason",
            subjects=[self._names.stream_subjects(self.durable)],
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            max_msgs=MOST_MESSAGES,
            max_bytes=MOST_BYTES,
            max_msgs_per_subject=1,
            allow_direct=True,
        )
        await open_own(self._client, config, like=self._names.event_stream)

    async def bury(self, letter: DeadLetter) -> None:
        """Store a dead letter, in place of an older one of the same event. Raises `Unavailable`, also when it is full.

        Returning says that NATS has it.
        """
        await self._store(self._names.letter_subject(self.durable, letter.event_id), letter)

    async def keep(self, failing: DeadLetter) -> int:
        """Store how an event failed that may become a dead letter; returns the number of the message.

        Its payload is left out. Raises `Unavailable`, also when the stream is full.
        """
        subject = self._names.failing_subject(self.durable, failing.event_id)
        return await self._store(subject, failing._replace(payload=b"", headers={}))

    async def failing(self) -> AsyncIterator[DeadLetter]:
        """Events that failed and are no dead letters, without their payload; `number` is that of the message.

        Raises `NotFound` when there is no such stream, `Unavailable`.
        """
        async for message in self._each(self._names.failing_subject(self.durable, ANY)):
            yield self._letter(message)

    async def _store(self, subject: str, letter: DeadLetter) -> int:
        if await self._is_full() and await self._next(1, subject) is None:
            raise Unavailable(f"cannot bury an event in stream {self.name}: it is full")
        with translated_nats(f"cannot bury an event in stream {self.name}"):
            headers = headers_of(letter, self._client.max_payload)
            return int((await self._js.publish(subject, letter.payload, headers=headers)).seq)

    async def _is_full(self) -> bool:
        """Whether all is used that is not for requests. Raises `Unavailable`."""
        requests = self._names.redelivery_subject(self.durable, ANY)
        try:
            with translated_nats(f"cannot read stream {self.name}"):
                info = await self._js.stream_info(self.name, subjects_filter=requests)
        except NotFound:
            return False
        others = info.state.messages - len(info.state.subjects or {})
        return _is_used_up(others, info.config.max_msgs) or _is_used_up(info.state.bytes, info.config.max_bytes)

    async def count(self) -> int:
        """How many dead letters there are. Raises `NotFound` when there is no such stream, `Unavailable`."""
        with translated_nats(f"cannot read stream {self.name}"):
            wanted = self._names.letter_subject(self.durable, ANY)
            subjects = (await self._js.stream_info(self.name, subjects_filter=wanted)).state.subjects
        return len(subjects or {})

    async def all(self, after: int = 0) -> AsyncIterator[DeadLetter]:
        """Every dead letter behind number `after`, oldest first; of none before it anything is read.

        One that fails again meanwhile is told again, under its new number. Raises `NotFound` when there is no such
        stream, `Unavailable`.
        """
        async for message in self._each(self._names.letter_subject(self.durable, ANY), after):
            yield await self._whole(message)

    async def get(self, number: int) -> DeadLetter:
        """The dead letter of this number. Raises `NotFound`, `Unavailable`."""
        message = await self._next(number, self._names.letter_subject(self.durable, ANY))
        if message is None or message.seq != number:
            raise NotFound(f"dead letter {number} of {self.durable}: there is none of that number")
        return await self._whole(message)

    async def of_event(self, event_id: str) -> DeadLetter | None:
        """The dead letter of one event, if there is one. Raises `Unavailable`."""
        message = await self._next(1, self._names.letter_subject(self.durable, event_id))
        return self._letter(message) if message else None

    async def ask(self, event_id: str, actor: str) -> None:
        """Ask that the letter is handled once more: kept until a subscriber has done so. Raises `Unavailable`."""
        said = orjson.dumps({"actor": actor, "at": datetime.now(UTC).isoformat(timespec="milliseconds")})
        with translated_nats(f"cannot ask for a redelivery in stream {self.name}"):
            await self._js.publish(self._names.redelivery_subject(self.durable, event_id), said)

    async def redeliveries(self, after: int = 0) -> AsyncIterator[Redelivery]:
        """What was asked for behind message `after`, oldest first. Raises `Unavailable`."""
        async for message in self._each(self._names.redelivery_subject(self.durable, ANY), after):
            yield _redelivery(message)

    async def drop(self, number: int) -> bool:
        """Delete a message, a letter or a request; False when it is gone already. Raises `Unavailable`."""
        try:
            return await delete_message(self._js, self.name, number)
        except NotFound:  # with the whole stream
            return False

    async def _each(self, subject: str, after: int = 0) -> AsyncIterator[RawStreamMsg]:
        """The messages on a subject behind number `after`, oldest first."""
        while (message := await self._next(after + 1, subject)) is not None:
            after = int(message.seq or 0)
            yield message

    async def _next(self, number: int, subject: str) -> RawStreamMsg | None:
        """The first message of at least this number on a subject."""
        return await first_message(self._js, self.name, number, subject)

    async def _whole(self, message: RawStreamMsg) -> DeadLetter:
        """The dead letter in a message, and whether it is asked for again."""
        asked = await self._next(1, self._names.redelivery_subject(self.durable, _event_id(message)))
        return self._letter(message)._replace(redelivery=_redelivery(asked) if asked else None)

    def _letter(self, message: RawStreamMsg) -> DeadLetter:
        return letter_in(self.durable, int(message.seq or 0), message.headers or {}, message.data or b"")


def _is_used_up(used: int, limit: int | None) -> bool:
    """Whether so much is used of a limit of the stream, if it has one, as is not for requests."""
    return limit is not None and limit > 0 and used >= limit - limit // FREE_FOR_REQUESTS


def _redelivery(message: RawStreamMsg) -> Redelivery:
    return redelivery_in(int(message.seq or 0), _event_id(message), message.data or b"")


def _event_id(message: RawStreamMsg) -> str:
    """As the subject has it: a header may be somebody else's, and no name of a subject."""
    return (message.subject or "").rpartition(".")[2]
