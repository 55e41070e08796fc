"""Events on their way into the tables: whole transactions of the source together, each once, with the position."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection

from publisher.mirror.source import Source
from publisher.outbox.connection import translated
from registry import exact
from registry.errors import Conflict, RegistryError, Unavailable
from registry.events.envelope import attributes_of, parse_envelope
from registry.events.filter import what_happened
from registry.history.pages import Replayed
from registry.validation import told

MOST_EVENTS = 2_000
MOST_BYTES = 16 * 1024 * 1024
"""What is applied in one transaction; of a larger one of the source, one part after the other."""

ROWS = {"worktree", "project", "worktree_type", "activity", "host", "project_host"}
"""Entities whose events are rows."""

APPLY = "SELECT public.apply_mirrored(%s, %s, %s, %s::bigint[], %s::text[])"
KNOWN = "UPDATE public.mirror_source SET known_at = clock_timestamp() WHERE promoted_at IS NULL AND position = %s"


class Untold(Conflict):
    """An event does not say what the row is now, and nobody else does: a snapshot will."""

    def __init__(self, message: str, sequence: int) -> None:
        super().__init__(message)
        self.sequence = sequence


@dataclass
class Pending:
    """An event that is not applied yet."""

    event: Replayed
    text: str
    transaction: str
    at: datetime


@dataclass
class Batch:
    """What was read and is not applied yet, and the position behind what is."""

    position: str
    sequence: int = 0
    """Of the last event that is applied."""
    passed: int = 0
    """Sequence up to which the stream was read."""
    _pending: list[Pending] = field(default_factory=list)
    _bytes: int = 0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Of those who move the position: whoever reads, and whoever looks at the source meanwhile."""

    @property
    def is_full(self) -> bool:
        """Whether it is to be applied before more is read."""
        return len(self._pending) >= MOST_EVENTS or self._bytes >= MOST_BYTES

    async def add(self, event: Replayed, source: Source) -> None:
        """Take an event. Raises `Untold` for one that does not tell its row, `Unavailable`."""
        try:
            pending, has_row = pending_of(event)
            if not has_row:
                pending.text = await _with_data(event.payload, source)
        except Unavailable:
            raise
        except RegistryError as error:
            reason = f"the event at sequence {event.sequence} does not tell its row: {told(str(error))}"
            raise Untold(reason, event.sequence) from error
        self._pending.append(pending)
        self._bytes += len(pending.text)

    def skip(self, event: Replayed) -> None:
        """Pass over an event: a snapshot that was taken since has what it may have told."""
        self._pending.append(Pending(event, "", "", datetime.now(UTC)))

    async def apply(self, conn: AsyncConnection[Any], *, is_complete: bool) -> list[float]:
        """Apply what may be applied: all, or without the last transaction, of which more may come.

        Returns how many seconds ago each of the events was made. Raises `Conflict` when somebody else follows.
        """
        async with self._turn:
            return await self._apply(conn, is_complete=is_complete)

    async def know(self, conn: AsyncConnection[Any]) -> bool:
        """Note that nothing more is published than is applied; returns whether it is so yet. Raises `Conflict`."""
        async with self._turn:
            if not self._pending:
                await self._known(conn)
            return not self._pending

    async def _known(self, conn: AsyncConnection[Any]) -> None:
        with translated():
            known = await conn.execute(KNOWN, [self.position])
        if not known.rowcount:
            raise Conflict("the mirror is no longer where this process left it")

    async def _apply(self, conn: AsyncConnection[Any], *, is_complete: bool) -> list[float]:
        whole = self._last_begins()
        going = len(self._pending) if is_complete or (self.is_full and not whole) else whole
        if is_complete and not going:
            await self._known(conn)
        if not going:
            return []
        taken = self._pending[:going]
        behind = str(taken[-1].event.position)
        told_events = [one for one in taken if one.text]
        sequences = [one.event.sequence for one in told_events]
        with translated():
            values = [self.position, behind, is_complete, sequences, [one.text for one in told_events]]
            await conn.execute(APPLY, values)
        # Who is cut short does not know whether it was committed: what was sent is pending until it is.
        self.position = behind
        self.sequence = taken[-1].event.sequence
        del self._pending[:going]
        self._bytes = sum(len(one.text) for one in self._pending)
        now = datetime.now(UTC)
        return [(now - one.at).total_seconds() for one in told_events]

    def _last_begins(self) -> int:
        """Where the last transaction begins; 0 where that is all there is."""
        place = len(self._pending)
        while place and self._pending[place - 1].transaction == self._pending[-1].transaction:
            place -= 1
        return place


def pending_of(event: Replayed) -> tuple[Pending, bool]:
    """An event to be applied, and whether all that it tells of its row is in it. Raises `Invalid`."""
    envelope = attributes_of(event.payload)
    entity, _, _ = what_happened(envelope)
    at, transaction = datetime.fromisoformat(envelope["time"]), str(envelope.get("transactionid"))
    has_row = entity not in ROWS or envelope.get("data") is not None
    return Pending(event, event.payload.decode(), transaction, at), has_row


async def _with_data(payload: bytes, source: Source) -> str:
    """The envelope with its data, which went out as a reference. Raises `RegistryError`."""
    data = await source.queries.event_data(parse_envelope(payload))
    return exact.dumps(exact.loads(payload) | {"data": data}, "event").decode()
