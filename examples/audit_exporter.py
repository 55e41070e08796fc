"""Audit exporter: copies every event into an SQLite file, each exactly once, whatever is killed meanwhile.

NATS_URL=nats://127.0.0.1:4222 python examples/audit_exporter.py audit.db

An event and the place behind it are stored in one transaction: what is in the file is what the next start goes on
behind. That is how an effect becomes "exactly once" although a message may be delivered again.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import suppress

from registry.client import RegistryClient
from registry.errors import Invalid
from registry.events.envelope import parse_envelope
from registry.history.pages import Replayed
from registry.position import After, FromStart

TABLES = """
CREATE TABLE IF NOT EXISTS event (
    id TEXT PRIMARY KEY, sequence INTEGER, type TEXT, actor TEXT, time TEXT, envelope TEXT
);
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), token TEXT NOT NULL);
"""


async def main(file: str) -> None:
    """Copy from where the file ends, then follow until stopped."""
    database = sqlite3.connect(file)
    database.executescript(TABLES)
    row = database.execute("SELECT token FROM place").fetchone()
    start = After(row[0]) if row else FromStart()
    prefix = os.environ.get("IMI_PREFIX", "imi")
    async with (
        RegistryClient.connect(os.environ["NATS_URL"], prefix=prefix, name="audit") as client,
        client.replay(start, follow=True) as events,
    ):
        async for event in events:
            with database:
                store(database, event)


def store(database: sqlite3.Connection, event: Replayed) -> None:
    """Put one event and its place into the file."""
    with suppress(Invalid):  # anybody may write to a stream: what is no event is passed by
        envelope = parse_envelope(event.payload)
        told = [str(envelope.id), envelope.sequence, envelope.type, envelope.actor, envelope.time.isoformat()]
        database.execute("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?)", [*told, event.payload.decode()])
    database.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", [str(event.position)])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
