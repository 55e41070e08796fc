"""Rows of the registry, written and read as tests of its SQL do it: on a connection whose rows are dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

ORIGIN = "git@github.com:delorenj/my-project.git"


@contextmanager
def dictionaries(url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection in autocommit that gives each row as a dictionary."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def scalar(db, query: str, *values: Any) -> Any:
    """First column of the first row."""
    return next(iter(db.execute(query, values).fetchone().values()))


def row(db, table: str, key: UUID) -> dict[str, Any]:
    """The row of a table or view with this id."""
    return db.execute(f"SELECT * FROM {table} WHERE id = %s", (key,)).fetchone()  # noqa: S608  # named by the tests


def worktree_row(db, key: UUID) -> dict[str, Any]:
    """The worktree with this id."""
    return row(db, "worktrees", key)


def new_project(db, origin: str = ORIGIN, name: str = "my-project") -> UUID:
    """Id of a project of this origin, which is registered."""
    return scalar(db, "SELECT register_project(%s, %s, 'main', %s)", name, origin, f"/code/{name}/trunk-main")


def new_worktree(db, project: UUID, name: str = "feat-auth") -> UUID:
    """Id of a worktree of this name, which is registered at a path of its own."""
    return scalar(
        db,
        "SELECT register_worktree(%s, 'feat', %s, %s, %s)",
        project,
        name,
        f"feat/{name}",
        f"/code/{project}/{name}",
    )


def events(db) -> list[str]:
    """`entity.action` of all that is in the outbox, in order."""
    return [f"{e['entity']}.{e['action']}" for e in db.execute("SELECT entity, action FROM outbox ORDER BY id")]


def backdate(db, table: str, column: str, key: UUID, days: int) -> None:
    """Make a row so many days old, past the triggers."""
    db.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    db.execute(
        f"UPDATE {table} SET {column} = now() - make_interval(days => %s) WHERE id = %s",  # noqa: S608  # as above
        (days, key),
    )
    db.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def update(table: str, column: str, which: str = "") -> sql.Composed:
    """An UPDATE of one column with one parameter."""
    names = map(sql.Identifier, (table, column))
    return sql.SQL("UPDATE {} SET {} = %s {}").format(*names, sql.SQL(which))
