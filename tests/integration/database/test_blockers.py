"""Who keeps a session waiting is named; a session of ours that only looks is not, whatever it holds for a moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import Connection

from registry.database.blockers import blockers, looking
from registry.database.connection import connect_blocking
from tests.support.databases import name_of, plain_role, url_of
from tests.support.services import wait_until

TAKE = "SELECT pg_advisory_lock(1)"
LEAVE = "SELECT pg_advisory_unlock(1)"
WAITS = "SELECT cardinality(pg_blocking_pids(%s)) > 0"


@contextmanager
def waiting_for(database: str, holder: Connection) -> Iterator[int]:
    """The pid of a session that waits for a lock which `holder` has."""
    holder.execute(TAKE)
    with connect_blocking(database) as waiter, connect_blocking(database) as judge:
        pid = waiter.info.backend_pid
        thread = threading.Thread(target=waiter.execute, args=[TAKE])
        thread.start()
        wait_until(lambda: judge.execute(WAITS, [pid]).fetchone() == (True,))
        try:
            yield pid
        finally:
            holder.execute(LEAVE)
            thread.join()


def test_a_session_of_ours_that_looks_is_named_neither_by_itself_nor_by_another(database: str) -> None:
    with looking(database) as ours, looking(database) as other, waiting_for(database, ours) as pid:
        assert blockers(ours, pid) == []
        assert blockers(other, pid) == []


def test_any_other_session_is_named_also_one_of_this_program(database: str) -> None:
    with looking(database) as ours, connect_blocking(database) as holder, waiting_for(database, holder) as pid:
        (found,) = blockers(ours, pid)
        assert (found.pid, found.application) == (holder.info.backend_pid, "imi-registry")


def test_somebody_else_does_not_hide_behind_the_name_of_who_looks(database: str, admin_url: str) -> None:
    with plain_role(admin_url) as stranger:
        elsewhere = url_of(database, name_of(database), stranger)
        with looking(database) as ours, looking(elsewhere) as holder, waiting_for(database, holder) as pid:
            assert [found.user for found in blockers(ours, pid)] == [stranger.name]
