"""Whom a session keeps waiting: locks on tables of the registry that no writer gets by."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import Any

import psycopg

LOCKED_OUT = """
SELECT count(*)
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = %s AND l.granted
    AND c.relname IN ('projects', 'worktrees', 'worktree_types', 'agent_activities', 'outbox', 'command_ledger')
    AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""
DOES = "SELECT query_start, query FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
ALONE = re.compile(r"CREATE (UNIQUE )?INDEX CONC|DROP INDEX CONC|ALTER TABLE \S+ VALIDATE|CALL |ANALYZE|VACUUM", re.I)
"""Statements of a migration beside its transaction: those that take as long as there are rows."""
PAUSE_SECONDS = 0.002


class Watched:
    """What was seen of a session."""

    def __init__(self) -> None:
        self.stage = ""
        """What is looked at now; to be set by who has it looked at."""
        self.longest_seconds: dict[str, float] = defaultdict(float)
        """By stage, for how long at a time writers were locked out of a table, at the most."""
        self.locked_out_by: set[str] = set()
        """Statements beside a transaction that kept writers out."""

    def look(self, conn: psycopg.Connection[Any], pid: int, ended: Event) -> None:
        """Look until then."""
        free_at, were_locked, stage = monotonic(), False, self.stage
        while not ended.wait(PAUSE_SECONDS):
            if not were_locked:  # the end of a lock is that of the stage that had it
                stage = self.stage
            began = monotonic()
            before = conn.execute(DOES, [pid]).fetchone()
            (locks,) = conn.execute(LOCKED_OUT.encode(), [pid]).fetchone() or (0,)
            if locks or were_locked:  # since somewhen after it was free, until somewhen before this look
                self.longest_seconds[stage] = max(self.longest_seconds[stage], monotonic() - free_at)
            were_locked = bool(locks)
            if not locks:
                free_at = began
                continue
            does = conn.execute(DOES, [pid]).fetchone()
            if does is not None and does == before and ALONE.match(does[1]):
                self.locked_out_by.add(does[1])


@contextmanager
def watched(url: str, pid: int) -> Iterator[Watched]:
    """Look at the locks of the session `pid` for the block."""
    found, ended = Watched(), Event()
    with psycopg.connect(url, autocommit=True) as conn:
        looking = Thread(target=found.look, args=(conn, pid, ended))
        looking.start()
        try:
            yield found
        finally:
            ended.set()
            looking.join()
