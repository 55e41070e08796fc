"""Two sessions of a login without a right: one waits for a strong lock behind the other, and all others behind it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
import pytest

from tests.support.services import wait_until

HOLDS = "PREPARE mine AS DELETE FROM {}"
"""Gets RowExclusiveLock, and keeps it to the end of the transaction."""
RULE = "CREATE RULE mine AS ON INSERT TO {} DO INSTEAD NOTHING"
"""Asks for AccessExclusiveLock before it is asked whose the table is."""
TRIGGER = "CREATE TRIGGER mine AFTER INSERT ON {} EXECUTE FUNCTION suppress_redundant_updates_trigger()"
"""Asks for ShareRowExclusiveLock."""
MODES = {RULE: "AccessExclusiveLock", TRIGGER: "ShareRowExclusiveLock"}
WAITS = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"


class InFront(NamedTuple):
    """Server processes of the two sessions."""

    holding: int
    asking: int


@contextmanager
def in_front(url: str, table: str, asks: str = RULE) -> Iterator[InFront]:
    """Inside the block whoever comes later waits, for `table`, with its schema; `url` is that of the login."""
    with psycopg.connect(url) as holding, psycopg.connect(url) as asking, ThreadPoolExecutor(1) as thread:
        holding.execute(HOLDS.format(table).encode())
        asked = thread.submit(asking.execute, asks.format(table).encode())
        pids = InFront(holding.info.backend_pid, asking.info.backend_pid)
        wait_until(lambda: holding.execute(WAITS, [pids.asking]).fetchall())
        try:
            yield pids
        finally:
            holding.rollback()
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.WrongObjectType)):
            asked.result(20)
