"""What each role may do with each table, view and sequence, done with a row of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from registry.database.roles.state import OWNER
from tests.support.roles.rows import ROWS
from tests.support.roles.trial import Conn, works

FOUND = """
SELECT
    c.oid::regclass::text,
    c.relkind::text,
    (SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = c.oid),
    (SELECT m.begins_at FROM activity_months() AS m WHERE m.name = c.relname),
    array_agg(a.attname::text ORDER BY a.attnum),
    array_agg(a.attname::text) FILTER (WHERE a.attidentity = 'a')
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
GROUP BY c.oid
ORDER BY translate(c.relkind::text, 'rpvS', '1123'), 1
"""
TRIED = {
    "SELECT": "SELECT {column} FROM {relation}",
    "INSERT": "INSERT INTO {relation} {row}",
    "UPDATE": "UPDATE {relation} SET {column} = {value}",
    "DELETE": "DELETE FROM {relation}",
    "TRUNCATE": "TRUNCATE {relation}",
    "TRIGGER": "CREATE TRIGGER t AFTER INSERT ON {relation} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "SWITCH OFF": "ALTER TABLE {relation} DISABLE TRIGGER USER",
    "LOCK": "LOCK TABLE {relation} IN ACCESS EXCLUSIVE MODE",
}
"""What is tried with a table of one row; `SELECT` and `UPDATE` once for each column."""
SEQUENCE = {"nextval": "SELECT nextval('{0}')", "setval": "SELECT setval('{0}', {1})", "SELECT": "SELECT * FROM {0}"}
"""What is tried with a sequence. No rollback takes that back: it is set to where it is."""


class Relation(NamedTuple):
    """A table, view, sequence or partition."""

    name: str
    kind: str
    parent: str | None
    begins_at: Any
    columns: list[str]
    always_generated: list[str] | None

    @property
    def at(self) -> Any:
        """A time that a row of it may have."""
        return self.begins_at or ("now" if self.parent is None else "1999-12-31")

    @property
    def shown_as(self) -> str:
        """Its name; every month is called the same."""
        return re.sub(r"_y\d{4}m\d{2}$", "_y…m…", self.name)


def rights(conn: Conn, roles: Sequence[str], ids: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What works on each, by its name and that of the role; "" where nothing does. All months must be the same."""
    found: dict[str, dict[str, str]] = {}
    for relation in (Relation(*row) for row in conn.execute(FOUND).fetchall()):
        if relation.kind == "S":
            by_role = {role: _on_sequence(conn, role, relation.name) for role in roles}
        elif relation.kind == "v":
            by_role = {role: _tried(conn, role, relation, "SELECT", {}) for role in roles}
        else:
            by_role = _on_table(conn, roles, relation, ids | {"at": relation.at})
        assert found.setdefault(relation.shown_as, by_role) == by_role, relation
    return found


def _on_table(conn: Conn, roles: Sequence[str], relation: Relation, ids: Mapping[str, Any]) -> dict[str, str]:
    works_for: dict[str, list[str]] = {role: [] for role in roles}
    insert = TRIED["INSERT"].format(relation=relation.name, row=ROWS[relation.parent or relation.name])
    for right in TRIED:
        with conn.transaction(force_rollback=True):
            conn.execute("SET LOCAL session_replication_role = replica")  # past the triggers
            conn.execute(f"DELETE FROM {relation.name}".encode())  # noqa: S608  # of the catalog
            if right != "INSERT":
                conn.execute(insert.encode(), ids)
            conn.execute("SET LOCAL session_replication_role = origin")
            values = _values(conn, relation) if right == "UPDATE" else {}
            for role in roles:
                works_for[role].append(_tried(conn, role, relation, right, values, ids))
    return {role: ", ".join(filter(None, found)) for role, found in works_for.items()}


def _values(conn: Conn, relation: Relation) -> dict[str, str]:
    """What is in the row, as SQL: an update that needs no right to read."""
    texts = ", ".join(f'"{column}"::text' for column in relation.columns)
    row = conn.execute(f"SELECT {texts} FROM {relation.name}".encode()).fetchone()  # noqa: S608  # of the catalog
    assert row is not None, relation
    found = {column: sql.Literal(value).as_string(conn) for column, value in zip(relation.columns, row, strict=True)}
    return found | dict.fromkeys(relation.always_generated or (), "DEFAULT")


def _tried(
    conn: Conn,
    role: str,
    relation: Relation,
    right: str,
    values: Mapping[str, str],
    ids: Mapping[str, Any] | None = None,
) -> str:
    """The right, with the columns on which it works where those are not all; "" where there is none."""
    row = ROWS[relation.parent or relation.name] if right == "INSERT" else ""
    columns = relation.columns if "{column}" in TRIED[right] else relation.columns[:1]
    if len(columns) > 1 and not _has_any(conn, role, relation.name, right):
        columns = columns[:1]
    allowed = []
    for column in columns:
        names = {"relation": relation.name, "column": f'"{column}"', "row": row, "value": values.get(column)}
        if _done(conn, role, TRIED[right].format(**names), ids if row else None):
            allowed.append(column)
    return right if len(allowed) == len(columns) else f"{right} ({', '.join(allowed)})" if allowed else ""


def _has_any(conn: Conn, role: str, relation: str, right: str) -> bool:
    """Whether a column may be the one that the role has a right on; else one is tried for all of them."""
    row = conn.execute("SELECT has_any_column_privilege(%s, %s, %s)", [role, relation, right]).fetchone()
    return row is not None and bool(row[0])


def _on_sequence(conn: Conn, role: str, sequence: str) -> str:
    ((last,),) = conn.execute(f"SELECT last_value FROM {sequence}".encode()).fetchall()  # noqa: S608  # of the catalog
    return ", ".join(right for right, text in SEQUENCE.items() if works(conn, role, text.format(sequence, last)))


def _done(conn: Conn, role: str, statement: str, ids: Mapping[str, Any] | None) -> bool:
    """As `works`; a trigger may keep the owner from it, and a table that others refer to is emptied with these."""
    try:
        return works(conn, role, statement, ids)
    except psycopg.errors.FeatureNotSupported:
        if not statement.startswith("TRUNCATE"):
            raise
        return _done(conn, role, f"{statement} CASCADE", ids)
    except psycopg.errors.ObjectNotInPrerequisiteState:
        if role != OWNER:
            raise
        return False
