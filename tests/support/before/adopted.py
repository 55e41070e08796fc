"""A registry that was adopted from the original schema: its rows, and those that a plan says they become."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from registry.database.adoption import Plan
from registry.database.adoption.original import TABLES

Conn = psycopg.Connection[Any]
Rows = dict[tuple[str, str], dict[str, Any]]


def all_rows(conn: Conn) -> Rows:
    """Every row, by its table and id; but for the host of a worktree, which is the default one of all of them."""
    found: Rows = {}
    for table in TABLES:
        query = sql.SQL("SELECT to_jsonb(t) - 'host_id' FROM {} AS t").format(sql.Identifier("public", table))
        found |= {(table, str(row["id"])): row for (row,) in conn.execute(query)}
    return found


def changed(rows: Rows, plan: Plan) -> Rows:
    """`rows` as the plan says that they become."""
    found = {key: dict(row) for key, row in rows.items()}
    for change in plan.changes:
        assert found[change.table, change.id][change.field] == change.old, change
        if change.field == "id":
            del found[change.table, change.id]
        else:
            found[change.table, change.id][change.field] = change.new
    return found
