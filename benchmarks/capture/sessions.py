"""Whose sessions PostgreSQL works for: those of the writers, and those of the publisher."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import psycopg

from benchmarks.harness.cpu import process_seconds

OTHERS = """
SELECT pid, application_name = 'pgbench'
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid()
"""


class Sessions:
    """CPU seconds of the sessions of one database, since this was made; as far as somebody looks before they end."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self._conn = conn
        self._before = {pid: seconds for pid, _, seconds in self._others()}
        self._spent: dict[int, tuple[float, bool]] = {}

    def look(self) -> None:
        """Note what each has used so far."""
        for pid, is_writer, seconds in self._others():
            self._spent[pid] = (seconds - self._before.get(pid, 0.0), is_writer)

    @property
    def writing(self) -> float:
        """Of pgbench."""
        return sum(spent for spent, is_writer in self._spent.values() if is_writer)

    @property
    def publishing(self) -> float:
        """Of all others: of the publisher, a reader of the WAL included."""
        return sum(spent for spent, is_writer in self._spent.values() if not is_writer)

    def _others(self) -> Iterator[tuple[int, bool, float]]:
        """Each session that lives, whether it is a writer's, and its seconds since it began."""
        for pid, is_writer in self._conn.execute(OTHERS).fetchall():
            with suppress(ProcessLookupError):  # it has just ended
                yield pid, is_writer, process_seconds(pid)
