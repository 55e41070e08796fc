"""PostgreSQL's queue of notifications, filled: by a session that listens and idles in a transaction, and another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

SMALL = {"max_notify_queue_pages": "64"}
"""Settings of a server with the smallest queue; PostgreSQL 17 and later know it."""
CHANNEL = "not_ours"


@contextmanager
def filled_queue(url: str) -> Iterator[None]:
    """Full for the block, after which it empties; whoever may log in can do this."""
    with psycopg.connect(url, autocommit=True) as listening:
        listening.execute(f"LISTEN {CHANNEL}")
        listening.execute("BEGIN")
        with psycopg.connect(url, autocommit=True) as filling, suppress(psycopg.errors.ProgramLimitExceeded):
            for number in range(10_000):
                filling.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"{number:07}" * 1000])
            raise AssertionError("the queue is never full: the server has a larger one")
        yield
