"""Whether a role may do something, as PostgreSQL answers when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

Conn = psycopg.Connection[Any]


def works(conn: Conn, role: str, statement: str, values: Mapping[str, object] | None = None) -> bool:
    """Whether `role` may do that: then it was done. All is taken back.

    Raises what PostgreSQL says where it is neither done nor refused for want of a right: then nothing was tried.
    """
    with conn.transaction(force_rollback=True):
        acting_as(conn, role)
        try:
            with conn.transaction():
                conn.execute(statement.encode(), values)
        except psycopg.errors.InsufficientPrivilege:
            return False
        except psycopg.Error as error:
            error.add_note(f"{role}: {statement}")
            raise
    return True


def acting_as(conn: Conn, role: str) -> None:
    """From here to the end of the transaction."""
    conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
