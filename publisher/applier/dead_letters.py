"""Messages on command subjects that cannot be carried out: stored whole with the reason, to be looked at or retried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.api import DiscardPolicy, StorageType, StreamConfig

from publisher.applier.command_stream import Received
from publisher.settings import Settings
from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.broker.own_stream import open_own
from registry.broker.stored import delete_message, first_message
from registry.dead_letters.letter import ATTEMPTS, REASON, SEQUENCE, SUBJECT, number_in, one_line, sendable
from registry.errors import NotFound
from registry.profiles.profile import Profile

OURS = {REASON, SUBJECT, SEQUENCE, ATTEMPTS, "Nats-Msg-Id"}
DEDUPE_SECONDS = 3600.0
"""A message that is buried again after a crash, within this, is stored once."""


class DeadLetter(NamedTuple):
    """A dead letter as it is stored."""

    number: int
    """Its sequence in the dead letter stream."""
    subject: str
    """Where it was sent to."""
    reason: str
    sequence: int
    """Its sequence in the command stream."""
    attempts: int
    headers: dict[str, str]
    """Those it was sent with."""
    payload: bytes
    buried_at: datetime


class DeadLetters:
    """The dead letter stream of one profile."""

    def __init__(self, client: Client, profile: Profile, settings: Settings) -> None:
        self.name = profile.commands.dead_letter_stream
        self._names = profile.commands
        self._settings = settings
        self._client = client
        self._js = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)

    async def open(self) -> bool:
        """Create the stream (True), or give it its limits. Raises `Unavailable`, `Conflict`.

        Full, it drops its oldest, whose senders know that they were refused: to keep those and take no more would let
        one sender of nonsense hold up the commands of all.
        """
        config = StreamConfig(
            name=self.name,
            description="Commands to the iMi project registry that could not be carried out, with the reason",
            subjects=[f"{self._names.dead_letter_root}.>"],
            storage=StorageType.FILE,
            num_replicas=self._settings.stream_replicas,
            discard=DiscardPolicy.OLD,
            max_msgs=self._settings.dead_letters_max_messages,
            max_bytes=self._settings.dead_letters_max_bytes,
            duplicate_window=DEDUPE_SECONDS,
            allow_direct=True,
        )
        return await open_own(self._client, config)

    async def count(self) -> int:
        """How many there are now. Raises `NotFound` when there is no such stream, `Unavailable`."""
        with translated_nats(f"cannot read stream {self.name}"):
            return (await self._js.stream_info(self.name)).state.messages

    async def find(self) -> None:
        """Raise `NotFound` when there is no such stream, `Unavailable`."""
        try:
            with translated_nats(f"cannot open stream {self.name}"):
                await self._js.stream_info(self.name)
        except NotFound as error:
            raise NotFound(f"no stream {self.name}: has the applier been started?") from error

    async def bury(self, received: Received, reason: str, attempts: int) -> None:
        """Store a message of the command stream, whole. The same message again is stored once. Raises `Unavailable`."""
        headers = sendable(received.headers) | {
            REASON: one_line(reason),
            SUBJECT: received.subject,
            SEQUENCE: str(received.sequence),
            ATTEMPTS: str(attempts),
            "Nats-Msg-Id": f"{self._names.stream}:{received.sequence}:{received.stored_at.isoformat()}",
        }
        subject = self._names.dead_letter_subject(self._names.name_of(received.subject))
        await self._publish(subject, received.payload, headers)

    async def all(self, after: int = 0) -> AsyncIterator[DeadLetter]:
        """Every dead letter behind number `after`, oldest first. Raises `Unavailable`."""
        while (letter := await self._next(after + 1)) is not None:
            yield letter
            after = letter.number

    async def get(self, number: int) -> DeadLetter:
        """One dead letter. Raises `NotFound`, `Unavailable`."""
        letter = await self._next(number)
        if letter is None or letter.number != number:
            raise NotFound(f"dead letter {number}: there is none of that number in stream {self.name}")
        return letter

    async def retry(self, number: int) -> DeadLetter:
        """Send a dead letter once more to where it was sent, then drop it. Raises `NotFound`, `Unavailable`."""
        letter = await self.get(number)
        await self._publish(letter.subject, letter.payload, letter.headers)
        await self.drop(number)
        return letter

    async def drop(self, number: int) -> None:
        """Delete one dead letter. Raises `NotFound`, `Unavailable`."""
        await self.get(number)
        await delete_message(self._js, self.name, number)

    async def _next(self, number: int) -> DeadLetter | None:
        """The first dead letter of at least this number."""
        subject = f"{self._names.dead_letter_root}.>"
        message = await first_message(self._js, self.name, number, subject)
        if message is None:
            return None
        headers = {name: str(value) for name, value in (message.headers or {}).items()}
        return DeadLetter(
            number=int(message.seq or 0),
            subject=headers.get(SUBJECT, ""),
            reason=headers.get(REASON, ""),
            sequence=number_in(headers.get(SEQUENCE)),
            attempts=number_in(headers.get(ATTEMPTS)),
            headers={name: value for name, value in headers.items() if name not in OURS},
            payload=message.data or b"",
            buried_at=message.time or datetime.fromtimestamp(0, UTC),
        )

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        with translated_nats(f"cannot publish to {subject}"):
            await self._js.publish(subject, payload, headers=headers)
