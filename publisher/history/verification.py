"""Whether the events tell all: the tables built from the events alone, compared with the tables."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from publisher.history.snapshot import BEGIN, table_lines
from publisher.outbox.backlog import WITHOUT_EVENT, rows_without_event
from publisher.outbox.connection import connect, translated
from publisher.outbox.record import every_row
from publisher.outbox.rows import WHOLE_BYTES
from publisher.settings import Settings
from registry import exact
from registry.history.snapshot import Snapshot, grouped_lines
from registry.history.state import DataElsewhere, State
from registry.models import Worktree
from registry.profiles.imi import ImiProfile
from registry.subjects import DEFAULT_SOURCE

NOT_IN_EVENTS = {"updated_at", "last_sync_at"}
"""They change without an event, too: a sync that found nothing new is none."""
LARGE = {"metadata", "description", "last_commit_message", "is_shortened"}
"""Of a row that PostgreSQL cannot give whole these are not known."""
NO_LIMIT = 2**62
LISTED = 50

EVENTS = """
SELECT id
FROM public.outbox
WHERE id > %(after)s AND entity IN ('project', 'worktree', 'worktree_type', 'registry') AND action <> 'heartbeat'
ORDER BY id
LIMIT %(limit)s
"""

HAS_FORGOTTEN = """
SELECT
    coalesce(bool_or(forgotten_sequence > 0), false)
    OR (coalesce(bool_or(withheld > 0), false) AND coalesce((SELECT min(id) FROM public.outbox), 2) > 1)
FROM public.publisher_cursor
"""


@dataclass
class Verification:
    """What the comparison found."""

    equal: dict[str, int] = field(default_factory=dict)
    """Rows of each table that are what the events tell."""
    unknown: int = 0
    """Rows no kept event tells of: built-in types are there from the start, others are older than retention keeps.

    Also worktrees that are told, and are not there, of a project or type that no kept event tells of: an import cannot
    bring them back.
    """
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
            expected, unread = await _expected(conn)
            found = Snapshot()
            async for lines in grouped_lines(table_lines(conn, WHOLE_BYTES)):
                found.put_lines(lines)
    verification = compare(expected, found, has_forgotten=has_forgotten)
    verification.differences[:0] = unread[:LISTED]
    if waiting:
        verification.differences.insert(0, f"{waiting:,} rows {WITHOUT_EVENT}")
    return verification


def compare(expected: State, found: State, *, has_forgotten: bool) -> Verification:
    """What differs between the state `expected` by the events and the one `found` in the tables."""
    verification = Verification()
    pairs: list[tuple[str, dict[Any, Any], dict[Any, Any]]] = [
        ("projects", expected.projects, found.projects),
        ("worktrees", expected.worktrees, found.worktrees),
        ("types", expected.types, found.types),
    ]
    known = (expected.projects.keys() | found.projects.keys(), expected.types.keys() | found.types.keys())
    for table, expected_rows, found_rows in pairs:
        verification.equal[table] = 0
        for id_ in sorted(expected_rows.keys() | found_rows.keys(), key=str):
            wanted, row = expected_rows.get(id_), found_rows.get(id_)
            if wanted is None:
                is_unknown = has_forgotten or (row is not None and getattr(row, "is_builtin", False))
            else:
                is_unknown = row is None and isinstance(wanted, Worktree) and not _is_of(wanted, *known)
            if is_unknown:
                verification.unknown += 1
                continue
            difference = _difference(wanted, row)
            if not difference:
                verification.equal[table] += 1
            elif len(verification.differences) < LISTED:
                verification.differences.append(f"{table} {id_}: {difference}")
    return verification


def _is_of(worktree: Worktree, projects: Set[UUID], types: Set[int]) -> bool:
    """Whether it is of one of these projects, and of one of these types."""
    return worktree.project_id in projects and worktree.type_id in types


def _difference(expected: Any, row: Any) -> str:
    """In words; empty when they are the same as PostgreSQL compares: a change from 1.1 to 1.10 is no event."""
    if row is None:
        return "the events tell of it, the table does not have it"
    if expected is None:
        return "the table has it, no event tells of it"
    unknown = NOT_IN_EVENTS | (LARGE if row.is_shortened else set())
    wanted, values = expected.model_dump(), row.model_dump(exclude=unknown)
    return "; ".join(
        f"{name} is {value!r:.60}, the events tell {wanted[name]!r:.60}"
        for name, value in values.items()
        if not exact.same(value, wanted[name])
    )


async def _expected(conn: AsyncConnection) -> tuple[State, list[str]]:
    """The state that the events tell, and a line for each event that cannot be read."""
    state, profile = State(), ImiProfile("imi", DEFAULT_SOURCE)
    unread: list[str] = []
    async for row in every_row(conn, EVENTS, {}):
        if row.omission is not None:
            unread.append(f"event {row.id}, {row.entity}.{row.action}: data cannot be read: {row.omission.detail}")
            continue
        try:
            state.apply(profile.encode(row, NO_LIMIT).payload)
        except DataElsewhere as error:
            unread.append(f"event {row.id}, {row.entity}.{row.action}: {error}")
    _name(state)
    return state, unread


def _name(state: State) -> None:
    """Call projects and types in their worktrees as they are called last.

    Where the events before are no longer kept, a new name is the first thing that is told of them.
    """
    for worktree in list(state.worktrees.values()):
        project, kind = state.projects.get(worktree.project_id), state.types.get(worktree.type_id)
        project_name = project.name if project else worktree.project_name
        type_name = kind.name if kind else worktree.type_name
        if (worktree.project_name, worktree.type_name) != (project_name, type_name):
            named = worktree.model_copy(update={"project_name": project_name, "type_name": type_name})
            state.put_worktree(named)
