"""An import of iMi's old database, and what is in the registry after it."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from registry.database.connection import connect_blocking
from registry.database.sqlite import Choices, Report, transfer
from registry.database.sqlite.source import opened
from tests.support.before.sqlite import OldDatabase


def run(database: str, old: OldDatabase, **choices: Any) -> Report:
    """Import `old`, with these choices."""
    with connect_blocking(database) as conn, opened(old.file) as source:
        return transfer(conn, source, Choices(**choices))


def rows(database: str, query: str) -> list[dict[str, Any]]:
    """What a query finds."""
    with psycopg.connect(database, row_factory=dict_row) as conn:
        return conn.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]


def count(database: str, table: str) -> int:
    """How many rows a table has."""
    return len(rows(database, f"TABLE {table}"))


def everything(old: OldDatabase) -> None:
    """One of each that is well."""
    old.repository()
    old.worktree()
    old.activity()
