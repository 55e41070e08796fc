"""A command that waits for a lock in PostgreSQL says behind whom it waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from publisher.cli.terminal.text import say
from registry.errors import RegistryError

LOOK_SECONDS = 1.0
"""A command that takes no longer is not looked at, and one that does so often."""


@contextmanager
def blockers_told(database_url: str, pid: int) -> Iterator[None]:
    """Inside the block, each session that keeps the session `pid` waiting is named once, on standard error."""
    done = threading.Event()
    watching = threading.Thread(target=_watch, args=(database_url, pid, done), daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()


def _watch(database_url: str, pid: int, done: threading.Event) -> None:
    from registry.database.blockers import Session, blockers
    from registry.database.connection import connect_blocking

    told: list[Session] = []
    if done.wait(LOOK_SECONDS):
        return
    # Where no second connection is to be had, the command waits all the same.
    with suppress(RegistryError), connect_blocking(database_url) as conn:
        while not done.is_set():
            found = blockers(conn, pid)
            for session in found:
                if session not in told:
                    say(f"waiting for {session}, which holds a lock that is needed here")
            told = found
            done.wait(LOOK_SECONDS)
