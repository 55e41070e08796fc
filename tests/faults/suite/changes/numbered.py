"""Numbered changes within an open transaction: each writes its entry into a row of the registry and into the ledger."""

from __future__ import annotations

from typing import Any, LiteralString
from uuid import uuid4

from psycopg import AsyncConnection

from tests.faults.suite.entries import Entry, act_token

NUMBER = "UPDATE entry_number SET number = number + 1 WHERE row = %s RETURNING number"
NOTE = "INSERT INTO entry_ledger (row, number, token) VALUES (%s, %s, %s)"
CHANGE = "UPDATE projects SET description = %s WHERE name = %s"
CHANGE_WORKTREE = "UPDATE worktrees SET last_commit_message = %s WHERE name = %s"


async def new_entry(conn: AsyncConnection, row: str) -> Entry:
    """The next one of a row, which is locked from then on; it is in the ledger."""
    entry = Entry(row, await _next_number(conn, row), uuid4().hex[:12])
    await conn.execute(NOTE, list(entry))
    return entry


async def change(conn: AsyncConnection, row: str, statement: LiteralString = CHANGE, key: Any = None) -> Entry:
    """Change a row, or its worktree, which `key` tells when it is not called so; returns the entry."""
    entry = await new_entry(conn, row)
    await conn.execute(statement, [entry.text, key or entry.place])
    return entry


async def note_acts(conn: AsyncConnection, row: str, action: str, marks: list[Entry]) -> list[Entry]:
    """Note what one statement did to all whose last changes are `marks`: one number, since their order is open."""
    number = await _next_number(conn, row)
    entries = [Entry(row, number, act_token(action, mark.token)) for mark in marks]
    for entry in entries:
        await conn.execute(NOTE, list(entry))
    return entries


async def _next_number(conn: AsyncConnection, row: str) -> int:
    found = await (await conn.execute(NUMBER, [Entry(row, 0, "").place])).fetchone()
    assert found is not None
    return int(found[0])
