"""Changes of one row that are made to see how far they come: into the stream, to the subscriber."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import psycopg
from psycopg import AsyncConnection

from tests.faults.suite.changes.numbered import change
from tests.faults.suite.entries import Entry
from tests.faults.suite.history import HANDLED
from tests.faults.suite.installation import PREFIX, Installation
from tests.faults.suite.writers import CONNECT, LOST, MARKER

POLL_SECONDS = 0.05
LOOKED_AT_BYTES = 4 * 1024 * 1024
"""So much of the end of the subscriber's notes is searched."""


async def mark(database_url: str) -> Entry:
    """Change the row of markers, whose event has the entry's text. Of a lost COMMIT the outcome is no matter."""
    while True:
        with suppress(*LOST):
            async with await AsyncConnection.connect(database_url, **CONNECT) as conn, conn.transaction():
                return await change(conn, MARKER)
        await asyncio.sleep(POLL_SECONDS)


def subject_of_markers(there: Installation) -> str:
    """The subject of their events."""
    with psycopg.connect(there.database.url) as conn:
        found = conn.execute("SELECT id FROM projects WHERE name = %s", [MARKER]).fetchone()
    assert found is not None
    return f"{PREFIX}.evt.v1.project.updated.{found[0]}"


def is_handled(there: Installation, entry: Entry) -> bool:
    """Whether the subscriber has handled one that was made just now."""
    with (there.folder / f"{HANDLED}.jsonl").open("rb") as notes:
        notes.seek(max(notes.seek(0, os.SEEK_END) - LOOKED_AT_BYTES, 0))
        return entry.token.encode() in notes.read()


async def until_handled(there: Installation) -> None:
    """Wait until the subscriber has handled a change made now."""
    entry = await mark(there.database.url)
    while not is_handled(there, entry):
        await asyncio.sleep(POLL_SECONDS)
