"""The publisher's own connections to the database, each of one of two kinds: the leader's, and everybody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection

from registry.database.connection import from_database, uninterrupted

# A dead peer is noticed within about ten seconds, whatever the network does with the packets.
KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
}

# Under JIT a query of the outbox took 110 ms instead of 0.1 ms. What is reported as done has to outlive a crash of
# PostgreSQL, whatever the database or the role sets.
READER = """
SET jit = off;
SET synchronous_commit = on;
SET timezone = 'UTC';
SET idle_in_transaction_session_timeout = 0;
SET idle_session_timeout = 0;
SET statement_timeout = 0;
"""
"""Session settings of those who read the outbox, the record, or the tables, and of an import."""

# Each page is one index range scan per range; a plan that sorts or scans the table is never better. A cursor update
# that a crash of PostgreSQL loses is found again in the stream.
LEADER = (
    READER
    + """
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET synchronous_commit = off;
"""
)
"""Session settings of the relay, and of retention, which takes parts out of the outbox as the relay reads them."""


@asynccontextmanager
async def connect(database_url: str, name: str, session: str = READER) -> AsyncIterator[AsyncConnection]:
    """A connection of the publisher's own, with the settings of `session`. Raises `Unavailable`."""
    try:
        conn = await uninterrupted(
            AsyncConnection.connect(
                database_url, autocommit=True, application_name=name[:63], prepare_threshold=0, **KEEPALIVE
            )
        )
    except psycopg.Error as error:
        raise from_database(error) from error
    async with conn:
        with translated():
            await conn.execute(session, prepare=False)
        yield conn


@contextmanager
def translated() -> Iterator[None]:
    """Raise what psycopg raises inside the block as an error of `registry/errors.py`."""
    try:
        yield
    except psycopg.Error as error:
        raise from_database(error) from error
