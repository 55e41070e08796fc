"""The record of what people did with dead letters: who, when, what. Written before it is done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import orjson
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, StorageType, StreamConfig

from registry.broker.errors import translated_nats
from registry.broker.own_stream import REQUEST_TIMEOUT_SECONDS, open_own
from registry.broker.stored import first_message
from registry.dead_letters.letter import DeadLetter
from registry.errors import NotFound
from registry.subjects import LetterNames

MOST_RECORDED = 100_000
MOST_BYTES = 64 * 1024 * 1024

Action = Literal["redeliver", "drop"]


class Record(NamedTuple):
    """One action."""

    at: datetime
    actor: str
    action: str
    durable: str
    number: int
    """Of the dead letter, as it was then."""
    event: str
    event_id: str
    sequence: int
    """Of the event in its stream."""
    reason: str
    """What had failed."""


class Records:
    """What was done with the dead letters of all subscriptions."""

    def __init__(self, client: Client, names: LetterNames) -> None:
        self._client = client
        self._names = names
        self._js = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)
        self._is_open = False

    async def add(self, actor: str, action: Action, letter: DeadLetter) -> None:
        """Record that `actor` does this now. Raises `Unavailable`, `Conflict`: then it is not to be done."""
        if not self._is_open:
            await open_own(self._client, self._config())
            self._is_open = True
        said = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "actor": actor,
            "action": action,
            "durable": letter.durable,
            "number": letter.number,
            "event": letter.event_name,
            "event_id": letter.event_id,
            "sequence": letter.sequence,
            "reason": letter.failure.reason,
        }
        subject = self._names.record_subject(letter.durable, action)
        with translated_nats(f"cannot record what is done in stream {self._names.record_stream}"):
            await self._js.publish(subject, orjson.dumps(said))

    async def all(self, durable: str | None = None) -> AsyncIterator[Record]:
        """What was done, oldest first. Raises `Unavailable`."""
        wanted = self._names.record_subject(durable or "*", "*")
        name, number = self._names.record_stream, 0
        while True:
            try:
                message = await first_message(self._js, name, number + 1, wanted)
            except NotFound:  # nothing was ever done
                return
            if message is None:
                return
            number = int(message.seq or 0)
            try:
                said = orjson.loads(message.data or b"")
                yield Record(**said | {"at": datetime.fromisoformat(said["at"])})
            except (ValueError, TypeError, KeyError):  # of somebody else
                continue

    def _config(self) -> StreamConfig:
        return StreamConfig(
            name=self._names.record_stream,
            description="What people did with dead letters: who, when, what",
            subjects=[f"{self._names.record_root}.>"],
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_msgs=MOST_RECORDED,
            max_bytes=MOST_BYTES,
            allow_direct=True,
        )
