"""The record of what people did with dead letters: who, when, what. Written before it is done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from nats.aio.client import Client

from registry.broker.journal import Journal, Line
from registry.dead_letters.letter import DeadLetter
from registry.subjects import LetterNames

Action = Literal["redeliver", "drop"]
NUMBERS = {"number", "sequence"}


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
        self._names = names
        description = "What people did with dead letters: who, when, what"
        self._journal = Journal(client, names.record_stream, names.record_root, description, like=names.event_stream)

    async def add(self, actor: str, action: Action, letter: DeadLetter) -> None:
        """Record that `actor` does this now. Raises `Unavailable`, `Conflict`: then it is not to be done."""
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
        await self._journal.write(self._names.record_subject(letter.durable, action), said)

    async def all(self, durable: str | None = None) -> AsyncIterator[Record]:
        """What was done, oldest first. Raises `Unavailable`."""
        async for said in self._journal.all(self._names.record_subject(durable or "*", "*")):
            record = _record(said)
            if record is not None:
                yield record


def _record(said: Line) -> Record | None:
    """The record that a line tells; None for one of somebody else."""
    try:
        at = datetime.fromisoformat(said["at"])
        record = Record(**said | {"at": at})
    except (ValueError, TypeError, KeyError):
        return None
    is_ours = all(type(value) is (int if name in NUMBERS else str) for name, value in said.items())
    return record if is_ours and at.tzinfo is not None else None
