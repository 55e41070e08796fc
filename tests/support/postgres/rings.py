"""Sessions that ring for the publisher without end, and say with each ring nearly as much as PostgreSQL takes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import Any

import psycopg

from publisher.outbox.doorbell import CHANNEL

RING = f"""
DO $$
BEGIN
    FOR number IN 1..1000 LOOP
        PERFORM pg_notify('{CHANNEL}', number || repeat('x', 7000));
    END LOOP;
END
$$
"""


@contextmanager
def ringing(url: str, sessions: int) -> Iterator[set[int]]:
    """So many ring as long as the block lasts, which has their process ids, and begins behind 7 MB of each."""
    stop = Event()

    def ring(conn: psycopg.Connection[Any]) -> None:
        while not stop.is_set():
            conn.execute(RING.encode())

    with ExitStack() as stack:
        conns = [stack.enter_context(psycopg.connect(url, autocommit=True)) for _ in range(sessions)]
        for conn in conns:
            conn.execute(RING.encode())
        with ThreadPoolExecutor(sessions) as threads:
            floods = [threads.submit(ring, conn) for conn in conns]
            try:
                yield {conn.info.backend_pid for conn in conns}
            finally:
                stop.set()
            for flood in floods:
                flood.result()
