"""Whose sessions PostgreSQL works for: those of the writers, and those of the publisher."""

from __future__ import annotations

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
        self._before = {pid: process_seconds(pid) for pid, _ in self._others()}
        self._spent: dict[int, tuple[float, bool]] = {}

    def look(self) -> None:
        """Note what each has used so far."""
        for pid, is_writer in self._others():
            spent = process_seconds(pid) - self._before.get(pid, 0.0)
            self._spent[pid] = (max(spent, self._spent.get(pid, (0.0, is_writer))[0]), is_writer)

    @property
    def writing(self) -> float:
        """Of pgbench."""
        return sum(spent for spent, is_writer in self._spent.values() if is_writer)

    @property
    def publishing(self) -> float:
        """Of all others: of the publisher, a reader of the WAL included."""
        return sum(spent for spent, is_writer in self._spent.values() if not is_writer)

    def _others(self) -> list[tuple[int, bool]]:
        return self._conn.execute(OTHERS).fetchall()
