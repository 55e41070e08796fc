"""A command that waits for a lock in PostgreSQL says behind whom it waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from publisher.cli.terminal.text import say
from registry.errors import RegistryError

if TYPE_CHECKING:
    from registry.database.blockers import Session


def say_blocker(session: Session) -> None:
    """On standard error, who has to end a transaction first."""
    say(f"waiting for {session}, which holds or asks for a lock that is needed here")


@contextmanager
def blocking_told(database_url: str, pid: int) -> Iterator[None]:
    """Inside the block, which needs no event loop, each session that keeps the session `pid` waiting is named once."""
    done = threading.Event()
    watching = threading.Thread(target=_watch, args=(database_url, pid, done), daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()


def _watch(database_url: str, pid: int, done: threading.Event) -> None:
    from registry.database.blockers import LOOK_SECONDS, Told, blockers, looking

    told = Told(say_blocker)
    if done.wait(LOOK_SECONDS):
        return
    # Where no second connection is to be had, the command waits all the same.
    with suppress(RegistryError), looking(database_url) as conn:
        while not done.is_set():
            told.found(blockers(conn, pid))
            done.wait(LOOK_SECONDS)
