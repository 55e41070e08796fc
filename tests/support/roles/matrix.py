"""What each role may do, as PostgreSQL answers when it is tried: the tables of docs/security.md.

`python -m tests.support.roles.matrix` writes them anew, from a server of its own.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from publisher.embedded.postgres import postgres
from registry.database import migrate
from tests.integration.schema.test_rights import populate
from tests.support.roles.calls import CALLS, COUNTS, HOSTS, OWNER
from tests.support.services import scratch_directory

PAGE = Path(__file__).parents[3] / "docs/security.md"
BEGIN, END = "<!-- made by tests/support/roles/matrix.py: {} -->", "<!-- end of {} -->"
ROLES = ["imi_writer", "imi_reader", "imi_publisher", "imi_applier"]
NOBODY = f"imi_nobody_{secrets.token_hex(4)}"

COMMAND = '\'project.register\', \'{"name": "n", "remote_origin": "git@github.com:o/n.git"}\''
SERVICE = {
    "registry_slow_queries": "SELECT * FROM registry_slow_queries()",
    "apply_command": f"SELECT apply_command('{uuid4()}', {COMMAND}, '', '{uuid4()}')",
    "run_command": f"SELECT run_command({COMMAND})",
    "command_project": 'SELECT command_project(\'{"remote_origin": "git@github.com:o/a.git"}\')',
    "command_worktree": 'SELECT command_worktree(\'{"path": "/w"}\')',
    "enter_command_host": "SELECT enter_command_host('project.register', 'server')",
    "published_ids": "SELECT published_ids(c) FROM publisher_cursor c",
    "cleanup_command_ledger": "SELECT cleanup_command_ledger(0)",
}
FUNCTIONS = CALLS | HOSTS | SERVICE | COUNTS | OWNER
TRIED = {
    "SELECT": "SELECT {column} FROM {relation} LIMIT 1",
    "INSERT": "INSERT INTO {relation} DEFAULT VALUES",
    "UPDATE": "UPDATE {relation} SET {column} = DEFAULT",
    "DELETE": "DELETE FROM {relation}",
    "TRUNCATE": "TRUNCATE {relation}",
    "TRIGGER": "CREATE TRIGGER t AFTER INSERT ON {relation} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "SWITCH OFF": "ALTER TABLE {relation} DISABLE TRIGGER ALL",
    "LOCK": "LOCK TABLE {relation} IN ACCESS EXCLUSIVE MODE",
}
"""What is tried with a table; `SELECT` and `UPDATE` once for each column."""
SEQUENCE = {"nextval": "SELECT nextval('{}')", "setval": "SELECT setval('{}', 1)", "SELECT": "SELECT * FROM {}"}

Conn = psycopg.Connection[Any]


@contextmanager
def registry(binaries: Path | None = None) -> Iterator[Conn]:
    """A superuser's connection to a registry with some rows and with all roles, on a server of its own."""
    with (
        scratch_directory() as directory,
        postgres(directory, settings={"fsync": "off"}, bin_dir=binaries) as server,
        psycopg.connect(server.url, autocommit=True) as conn,
    ):
        migrate.apply(conn)
        conn.execute("INSERT INTO publisher_cursor (stream) VALUES ('S')")
        conn.execute(f"CREATE ROLE {NOBODY}".encode())
        yield conn


def rights(conn: Conn) -> dict[str, dict[str, str]]:
    """What works on each table, view and sequence, by its name and that of the role; "" where nothing does."""
    found = conn.execute(
        "SELECT c.oid::regclass::text, c.relkind::text, array_agg(a.attname::text ORDER BY a.attnum)"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'S') GROUP BY 1, c.relkind"
        " ORDER BY translate(c.relkind::text, 'rvS', '123'), 1"
    ).fetchall()
    return {
        relation: {
            role: _on_sequence(conn, role, relation)
            if kind == "S"
            else _on_table(conn, role, relation, columns, {"SELECT": TRIED["SELECT"]} if kind == "v" else TRIED)
            for role in [*ROLES, NOBODY]
        }
        for relation, kind, columns in found
    }


def calls(conn: Conn) -> dict[str, dict[str, str]]:
    """ "yes" for who can call each function and has its work done, by its name and that of the role."""
    ids = populate(conn)
    return {
        name: {role: "yes" if _works(conn, role, call, ids) else "" for role in [*ROLES, NOBODY]}
        for name, call in sorted(FUNCTIONS.items())
    }


def _on_table(conn: Conn, role: str, relation: str, columns: list[str], tried: Mapping[str, str]) -> str:
    works = []
    for right, statement in tried.items():
        texts = {column: statement.format(relation=relation, column=f'"{column}"') for column in columns}
        if "{column}" not in statement or not _has_any(conn, role, relation, right):
            texts = {columns[0]: texts[columns[0]]}
        allowed = [column for column, text in texts.items() if _works(conn, role, text)]
        if len(allowed) == len(texts):
            works.append(right)
        elif allowed:
            works.append(f"{right} ({', '.join(allowed)})")
    return ", ".join(works)


def _has_any(conn: Conn, role: str, relation: str, right: str) -> bool:
    """Whether a column may be the one that the role has a right on; else one is tried for all of them."""
    row = conn.execute("SELECT has_any_column_privilege(%s, %s, %s)", [role, relation, right]).fetchone()
    return row is not None and bool(row[0])


def _on_sequence(conn: Conn, role: str, sequence: str) -> str:
    return ", ".join(right for right, text in SEQUENCE.items() if _works(conn, role, text.format(sequence)))


def _works(conn: Conn, role: str, statement: str, values: Mapping[str, object] | None = None) -> bool:
    """Whether `role` may do that; another error than a missing right says that it may. All is taken back."""
    with conn.transaction(force_rollback=True):
        conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        try:
            with conn.transaction():
                conn.execute(statement.encode(), values)
        except psycopg.errors.InsufficientPrivilege:
            return False
        except psycopg.Error:
            return True
    return True


def table_of(found: Mapping[str, Mapping[str, str]]) -> str:
    """A table as it stands in the page."""
    lines = ["| | writer | reader | publisher | applier | a stranger |", "|---|---|---|---|---|---|"]
    for name, by_role in found.items():
        lines.append(f"| `{name}` | {' | '.join(by_role[role] for role in [*ROLES, NOBODY])} |")
    return re.sub(r" +\|", " |", "\n".join(lines))


def in_page(name: str) -> str:
    """The table of this name as it stands in the page."""
    return PAGE.read_text().split(BEGIN.format(name))[1].split(END.format(name))[0].strip()


def write(conn: Conn) -> None:
    """Put the tables into the page."""
    for name, table in {"tables": table_of(rights(conn)), "functions": table_of(calls(conn))}.items():
        text = PAGE.read_text()
        before, rest = text.split(BEGIN.format(name))
        after = rest.split(END.format(name))[1]
        PAGE.write_text(f"{before}{BEGIN.format(name)}\n\n{table}\n\n{END.format(name)}{after}")


if __name__ == "__main__":
    with registry() as connection:
        write(connection)
