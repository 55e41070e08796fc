"""Whether the events tell all: the tables built from the events alone, compared with the tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection

from publisher.history.snapshot import BEGIN, table_lines
from publisher.outbox.backlog import WITHOUT_EVENT, rows_without_event
from publisher.outbox.connection import connect, translated
from publisher.outbox.record import every_row
from publisher.settings import Settings
from registry import exact
from registry.history.snapshot import Snapshot
from registry.history.state import State
from registry.profiles.imi import ImiProfile
from registry.subjects import DEFAULT_SOURCE

UNTOLD = {"updated_at", "last_sync_at"}
"""They change without an event, too: a sync that found nothing new is none."""
NO_LIMIT = 2**62
LISTED = 50

EVENTS = """
SELECT id
FROM public.outbox
WHERE id > %(after)s AND entity IN ('project', 'worktree', 'worktree_type', 'registry')
ORDER BY id
LIMIT %(limit)s
"""

HAS_FORGOTTEN = """
SELECT coalesce(bool_or(forgotten_sequence > 0), false) FROM public.publisher_cursor
"""


@dataclass
class Verification:
    """What the comparison found."""

    equal: dict[str, int] = field(default_factory=dict)
    """Rows of each table that are what the events tell."""
    unknown: int = 0
    """Rows no kept event tells of: built-in types are there from the start, others are older than retention keeps."""
    differences: list[str] = field(default_factory=list)
    """One line for each row that differs, the first ones."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"equal": self.equal, "unknown": self.unknown, "differences": self.differences}


async def verify(settings: Settings) -> Verification:
    """Compare, in one snapshot of the database. Raises `Unavailable`."""
    async with connect(settings.database_url or "", "imi-registry verify") as conn:
        with translated():
            await conn.execute(BEGIN)
            waiting = await rows_without_event(conn)
            (has_forgotten,) = await (await conn.execute(HAS_FORGOTTEN)).fetchone() or (False,)
            told, unread = await _told(conn)
            is_ = Snapshot()
            async for line in table_lines(conn):
                is_.put_line(line.rstrip(b"\n"))
    found = compare(told, is_, has_forgotten=has_forgotten)
    found.differences[:0] = unread[:LISTED]
    if waiting:
        found.differences.insert(0, f"{waiting:,} rows {WITHOUT_EVENT}")
    return found


def compare(told: State, is_: State, *, has_forgotten: bool) -> Verification:
    """What differs between the state that events tell and that of the tables."""
    found = Verification()
    pairs: list[tuple[str, dict[Any, Any], dict[Any, Any]]] = [
        ("projects", told.projects, is_.projects),
        ("worktrees", told.worktrees, is_.worktrees),
        ("types", told.types, is_.types),
    ]
    for name, expected, rows in pairs:
        found.equal[name] = 0
        for id_ in sorted(expected.keys() | rows.keys(), key=str):
            row, wanted = rows.get(id_), expected.get(id_)
            if wanted is None and (has_forgotten or (row is not None and getattr(row, "is_builtin", False))):
                found.unknown += 1
                continue
            differing = _differing(wanted, row)
            if not differing:
                found.equal[name] += 1
            elif len(found.differences) < LISTED:
                found.differences.append(f"{name} {id_}: {differing}")
    return found


def _differing(wanted: Any, row: Any) -> str:
    """In words; empty when they are the same as PostgreSQL compares: a change from 1.1 to 1.10 is no event."""
    if row is None:
        return "the events tell of it, the table does not have it"
    if wanted is None:
        return "the table has it, no event tells of it"
    told, is_ = wanted.model_dump(exclude=UNTOLD), row.model_dump(exclude=UNTOLD)
    return "; ".join(
        f"{name} is {is_[name]!r:.60}, the events tell {told[name]!r:.60}"
        for name in is_
        if not exact.same(is_[name], told[name])
    )


async def _told(conn: AsyncConnection) -> tuple[State, list[str]]:
    """The state that the events tell, and a line for each event that cannot be read."""
    state, profile = State(), ImiProfile("imi", DEFAULT_SOURCE)
    unread: list[str] = []
    async for row in every_row(conn, EVENTS, {}):
        if row.omission is not None:
            unread.append(f"event {row.id}, {row.entity}.{row.action}: data cannot be read: {row.omission.detail}")
        else:
            state.apply(profile.encode(row, NO_LIMIT).payload)
    return state, unread
