"""The triggers that write events of new rows, off while the rows of an import are inserted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

from psycopg import Connection, sql

from registry.database.months.patience import patiently, row

INSERT_TRIGGERS: Sequence[tuple[LiteralString, LiteralString]] = (
    ("worktree_types", "worktree_types_outbox_insert"),
    ("projects", "projects_outbox_insert"),
    ("worktrees", "worktrees_outbox_insert"),
    ("agent_activities", "agent_activities_outbox_insert"),
    ("project_hosts", "project_hosts_outbox"),
)


# All at once, since others lock some of them in another order: within the time nobody is in a deadlock.
LOCKS: Sequence[LiteralString] = (
    "SET LOCAL lock_timeout = '500ms'",
    "LOCK TABLE public.worktree_types, public.projects, public.worktrees, public.agent_activities, public.project_hosts"
    " IN SHARE ROW EXCLUSIVE MODE",
)
# Writes no row. A mirror and a replica refuse it, as they would each row of an import, of which none is to blame.
WRITES: LiteralString = "UPDATE public.projects SET name = name WHERE false"


@contextmanager
def no_events(conn: Connection[Any]) -> Iterator[None]:
    """Of rows that are inserted in the block, which is in a transaction, no event is written.

    What psycopg raises for a mirror or a replica is 55000: rows come from its source alone.
    """
    patiently(conn, "SELECT set_config('lock_timeout', %s, true)", *row(conn, "SHOW lock_timeout"), first=LOCKS)
    conn.execute(WRITES)
    for table, trigger in INSERT_TRIGGERS:
        _switch(conn, table, trigger, "DISABLE")
    yield
    for table, trigger in INSERT_TRIGGERS:
        _switch(conn, table, trigger, "ENABLE")


def _switch(conn: Connection[Any], table: LiteralString, trigger: LiteralString, state: LiteralString) -> None:
    statement = sql.SQL("ALTER TABLE {} {} TRIGGER {}")
    conn.execute(statement.format(sql.Identifier("public", table), sql.SQL(state), sql.Identifier(trigger)))
