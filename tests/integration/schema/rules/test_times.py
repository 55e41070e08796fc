"""Times: what no reader can hold is refused, in every column of every table."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.schema.rows import update

Conn = psycopg.Connection[Any]

TIMES = [
    ("projects", "created_at"),
    ("worktrees", "created_at"),
    ("worktrees", "last_sync_at"),
    ("worktrees", "merged_at"),
    ("worktree_types", "created_at"),
]


@pytest.mark.parametrize(("table", "column"), TIMES)
@pytest.mark.parametrize(
    "time",
    ["infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "10000-01-01 00:00:00+00", "0001-12-31 23:59:59+00 BC"],
)
def test_a_time_that_no_reader_can_hold_is_refused(
    db: Conn, ids: dict[str, UUID], table: str, column: str, time: str
) -> None:
    db.execute("SET datestyle = 'German'; SET timezone = 'Pacific/Kiritimati'")
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        db.execute(update(table, column), (time,))
    message = str(caught.value.diag.message_primary)
    assert message.startswith(f'{table}: {column} is "{time.split(" ")[0]}')
    assert message.endswith("; it must be within the years 1 to 9999")
    assert caught.value.diag.constraint_name == f"{table}_times_check"


@pytest.mark.parametrize("time", ["0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"])
def test_the_first_and_the_last_time_a_reader_can_hold_are_taken(db: Conn, ids: dict[str, UUID], time: str) -> None:
    for table, column in TIMES:
        if column != "merged_at":
            db.execute(update(table, column), (time,))
    db.execute("UPDATE worktrees SET merged_at = %s", (time,))


def test_every_time_column_of_the_registrys_tables_has_its_rule(db: Conn) -> None:
    rows = db.execute(
        "SELECT c.relname, a.attname, pg_get_constraintdef(k.oid) FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.atttypid = 'timestamptz'::regtype AND a.attnum > 0"
        " LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.conname = c.relname || '_times_check'"
        " WHERE c.relname IN ('projects', 'worktrees', 'worktree_types', 'agent_activities', 'deleted_worktrees')"
        " AND c.relkind = 'r'"
    ).fetchall()
    assert len(rows) == 9
    for table, column, definition in rows:
        assert f"{column}" in (definition or ""), (table, column)
