"""One thing to do about the roles: a statement, for whoever may run it."""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, sql


class Step(NamedTuple):
    """A statement, and why it is to be run."""

    why: str
    statement: str


def statement(conn: Connection[Any], text: LiteralString, *names: str) -> str:
    """`text` with each `{}` as one of `names`, quoted where it must be."""
    return sql.SQL(text).format(*map(sql.Identifier, names)).as_string(conn)
