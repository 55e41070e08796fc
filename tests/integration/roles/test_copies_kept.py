"""Nobody but who follows the source writes into a copy, whatever he sets and calls, with rights of the owner or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tests.integration.schema.test_rights import populate
from tests.support.roles import matrix

COPIES = {
    "mirror": "SELECT begin_mirror('source', 'IMI_EVENTS', true)",
    "replica": f"SELECT begin_replica('source', 'slot', '{uuid4()}', 1, true)",
}
TABLES = (
    "SELECT c.oid::regclass::text FROM pg_class c"
    " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1"
)


@pytest.fixture(scope="module", params=COPIES)
def copy(request: pytest.FixtureRequest) -> Iterator[tuple[matrix.Conn, Mapping[str, Any]]]:
    """A copy with rows of every kind, and what calls of functions are made with."""
    with matrix.registry() as conn:
        ids = populate(conn)
        rows = [name for (name,) in conn.execute("SELECT t FROM replica_tables() AS t").fetchall()]
        for name in rows:
            kept = sql.Identifier(f"kept_{name}")
            conn.execute(sql.SQL("CREATE TEMP TABLE {} AS TABLE {}").format(kept, sql.Identifier(name)))
        conn.execute(COPIES[request.param].encode())
        if request.param == "replica":  # which takes its rows by replication, past the triggers
            conn.execute("SET session_replication_role = replica")
            for name in rows:
                columns = _columns(conn, name)
                insert = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} ON CONFLICT DO NOTHING")
                conn.execute(insert.format(sql.Identifier(name), columns, columns, sql.Identifier(f"kept_{name}")))
            conn.execute("RESET session_replication_role")
        yield conn, ids


def _columns(conn: matrix.Conn, table: str) -> sql.Composed:
    found = conn.execute(
        "SELECT attname::text FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
        [f"public.{table}"],
    )
    return sql.SQL(", ").join(sql.Identifier(name) for (name,) in found.fetchall())


def everything(conn: matrix.Conn) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of each table."""
    tables = [name for (name,) in conn.execute(TABLES).fetchall()]
    read = sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1")
    return {name: conn.execute(read.format(sql.Identifier(name))).fetchall() for name in tables}


@pytest.mark.parametrize("role", ["imi_writer", "imi_applier", "imi_reader", pytest.param(matrix.NOBODY, id="nobody")])
def test_whatever_is_called_changes_nothing_in_a_copy(copy: tuple[matrix.Conn, Mapping[str, Any]], role: str) -> None:
    conn, ids = copy
    before = everything(conn)
    assert all(before[name] for name in ("projects", "worktrees", "agent_activities"))
    changed = {}
    for name, call in matrix.FUNCTIONS.items():
        with conn.transaction(force_rollback=True):
            conn.execute(f"SET LOCAL SESSION AUTHORIZATION {role}".encode())
            conn.execute("SET LOCAL imi.mirror = 'applies'")
            try:
                with conn.transaction():
                    conn.execute(call.encode(), ids)
            except psycopg.Error:
                continue
            conn.execute("RESET SESSION AUTHORIZATION")
            after = everything(conn)
            changed[name] = [table for table in after if after[table] != before[table]]
    assert changed
    assert {name: tables for name, tables in changed.items() if tables} == {}
