"""The outbox as these tests read it: what a statement added, seen by the transaction that runs it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row


class Event(NamedTuple):
    """One row of the outbox."""

    id: int
    transaction_id: int
    entity: str
    action: str
    project_id: UUID | None
    entity_id: UUID | None
    data: dict[str, Any]
    actor: str | None
    correlation_id: UUID | None
    causation_id: UUID | None
    traceparent: str | None
    occurred_at: datetime

    @property
    def name(self) -> str:
        return f"{self.entity}.{self.action}"

    @property
    def changed(self) -> dict[str, Any]:
        changed: dict[str, Any] = self.data["changed"]
        return changed


def events_behind(conn: psycopg.Connection[Any], last: int = 0) -> list[Event]:
    """Events with a higher id than `last`, in order of id."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT id, transaction_id::text::bigint, entity, action, project_id, entity_id, data,"
            " actor, correlation_id, causation_id, traceparent, occurred_at"
            " FROM public.outbox WHERE id > %s ORDER BY id",
            (last,),
        )
        return [Event(*row) for row in cursor]


def events(database: str) -> list[tuple[str, str, str | None]]:
    """Entity, action and actor of every event, in order."""
    with psycopg.connect(database) as conn:
        return conn.execute("SELECT entity, action, actor FROM outbox ORDER BY id").fetchall()


class OutboxReader:
    """Reads what was added since the last read, on the connection that writes."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn
        self._last = 0
        self.new()

    def new(self) -> list[Event]:
        """Events added since the last call, in order of id."""
        events = events_behind(self._conn, self._last)
        if events:
            self._last = events[-1].id
        return events

    def names(self) -> list[str]:
        """`entity.action` of the events added since the last call."""
        return [event.name for event in self.new()]

    def one(self) -> Event:
        """The one event added since the last call."""
        (event,) = self.new()
        return event


def add_project(conn: psycopg.Connection[Any], name: str = "alpha") -> UUID:
    """Id of a project of this name."""
    row = conn.execute("SELECT register_project(%s, %s)", (name, f"git@github.com:owner/{name}.git")).fetchone()
    assert row is not None
    project_id: UUID = row[0]
    return project_id


def add_worktree(conn: psycopg.Connection[Any], project_id: UUID, name: str = "one") -> UUID:
    """Id of a worktree of this name, at a path of its own."""
    row = conn.execute(
        "SELECT register_worktree(%s, 'feat', %s, %s, %s)",
        (project_id, name, f"feat/{name}", f"/code/{project_id}/{name}"),
    ).fetchone()
    assert row is not None
    worktree_id: UUID = row[0]
    return worktree_id
