"""A registry that was adopted from the original schema: its rows, what a plan says they become, and its schema."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from registry.database import migrate
from registry.database.adoption import Plan
from registry.database.adoption.original import TABLES
from registry.database.head import head
from tests.support.databases import Role, new_database
from tests.support.schema.migrations import NAMES, catalogs

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


def assert_as_new(conn: Conn, url: str, admin_url: str, owner: Role) -> None:
    """The schema in the database `url`, to which `conn` is connected, is that of a new one."""
    with new_database(admin_url, owner) as other:  # made now: a test may have left the server the registry's roles
        with psycopg.connect(other) as new:
            assert migrate.apply(new) == NAMES
            assert head(conn) == head(new)
        has_pgcrypto = conn.execute("SELECT FROM pg_extension WHERE extname = 'pgcrypto'").fetchall()
        if not has_pgcrypto:
            assert names_of(url) == names_of(other)


def names_of(url: str) -> list[tuple[object, ...]]:
    """What is in the catalogs, but for numbers that PostgreSQL gives, and an extension that only the original needs."""
    numbered = {"comment", "cast", "default acl"}
    return [
        row
        for row in catalogs(url)
        if row[0] not in numbered and "RI_ConstraintTrigger" not in str(row[1]) and "pgcrypto" not in str(row[1])
    ]
