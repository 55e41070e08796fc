"""Commands: those that were answered, as their outcome events tell, and one of them as the ledger has it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from publisher.web.console.sources.database import Database
from publisher.web.console.sources.outbox import LOOKED_AT, Ends, place_of
from registry.errors import NotFound

PAGE_ROWS = 50

OUTCOMES = f"""
SELECT
    event.id,
    event.occurred_at,
    event.actor,
    event.data ->> 'command_id' AS command_id,
    left(event.data ->> 'type', 100) AS name,
    event.data ->> 'verdict' AS verdict,
    event.data ->> 'code' AS code,
    left(event.data ->> 'message', 300) AS message
FROM (
    SELECT *
    FROM public.outbox AS event
    WHERE event.entity = 'command' AND event.id < %(before)s AND event.id >= %(floor)s
        AND (%(verdict)s::text IS NULL OR event.data ->> 'verdict' = %(verdict)s)
        AND (%(name)s::text IS NULL OR event.data ->> 'type' = %(name)s)
        AND (
            %(text)s::text IS NULL
            OR event.actor = %(text)s
            OR event.data ->> 'idempotency_key' = %(text)s
            OR event.data ->> 'command_id' = lower(%(text)s)
            OR position(lower(%(text)s) IN lower(event.data ->> 'message')) > 0
        )
    ORDER BY event.id DESC
    LIMIT {PAGE_ROWS + 1}
) AS event
ORDER BY event.id DESC
"""

ENTRY = """
SELECT
    command_id, applied_at, project_id, left(idempotency_key, 300) AS idempotency_key, left(type, 100) AS name,
    verdict, code, left(message, 4000) AS message,
    CASE WHEN pg_column_size(result) <= 16384 THEN result::text END AS result,
    left(actor, 300) AS actor, nullif(left(sender, 100), '') AS sender
FROM public.command_ledger
WHERE command_id = %(id)s::uuid
"""

OUTCOME_EVENT = """
SELECT event.id
FROM public.outbox AS event
WHERE event.id >= %(first)s AND event.id < %(first)s + 100000
    AND event.entity = 'command' AND event.causation_id = %(id)s::uuid
ORDER BY event.id
LIMIT 1
"""


class Outcome(NamedTuple):
    """A command that was answered."""

    id: int
    """Of its outcome event."""
    occurred_at: datetime
    actor: str | None
    command_id: str | None
    name: str | None
    verdict: str | None
    code: str | None
    message: str | None


class Entry(NamedTuple):
    """A command as the ledger has it."""

    command_id: UUID
    applied_at: datetime
    project_id: UUID | None
    idempotency_key: str | None
    name: str
    verdict: str
    code: str | None
    message: str
    result: str | None
    """JSON; None when there is none, or it is too large to be shown."""
    actor: str | None
    sender: str | None
    """Whose subject it came on; None for nobody's."""


class Outcomes(NamedTuple):
    """Some commands, newest first."""

    rows: list[Outcome]
    next: int | None
    """Ask for those before this event to go on."""
    looked_to: int


class _Id(NamedTuple):
    id: int


async def outcomes(
    database: Database, ends: Ends, before: int | None, *, verdict: str | None, name: str | None, text: str | None
) -> Outcomes:
    """The latest commands of a verdict, a name, a text in the outcome; None is any. Raises `RegistryError`."""
    before = min(before or ends.last + 1, ends.last + 1)
    floor = max(ends.first, before - LOOKED_AT)
    values = {"before": before, "floor": floor, "verdict": verdict, "name": name, "text": text}
    rows = await database.rows(Outcome, OUTCOMES, values)
    if len(rows) > PAGE_ROWS:
        return Outcomes(rows[:PAGE_ROWS], rows[PAGE_ROWS - 1].id, rows[PAGE_ROWS - 1].id)
    return Outcomes(rows, floor if floor > ends.first else None, floor)


async def entry(database: Database, command_id: str) -> Entry:
    """A command. Raises `NotFound`."""
    found = await database.row(Entry, ENTRY, {"id": command_id})
    if found is None:
        raise NotFound(f"command {command_id} is not in the ledger: it waits, is a dead letter, or was never sent")
    return found


async def outcome_event(database: Database, found: Entry) -> int | None:
    """The place in the outbox of a command's outcome event; None when it is not kept."""
    first = await place_of(database, found.applied_at)
    row = await database.row(_Id, OUTCOME_EVENT, {"first": max(first - 1000, 0), "id": str(found.command_id)})
    return row.id if row is not None else None
