"""Whether a connection keeps its session of PostgreSQL: a pooler of transactions gives it to others between them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import Connection

from registry.errors import Unprepared

LOOKS = 3


def check_session_is_kept(conn: Connection[Any], connect: Callable[[], Connection[Any]]) -> None:
    """Raise `Unprepared` where others would meet what is set on `conn`, which is new; `connect` makes another one.

    Both are answered by one session behind a pooler of transactions alone: one of sessions gives it to nobody else
    meanwhile. One that others keep busy may go unnoticed.
    """
    if _session(conn) == conn.info.backend_pid:  # a pooler greets with a number of its own
        return
    with suppress(psycopg.OperationalError), connect() as other:  # it may have no session for another one
        if any(_session(conn) == _session(other) for _ in range(LOOKS)):
            raise Unprepared(
                f"a pooler of transactions stands in front of database {conn.info.dbname}, and this needs a session of "
                "its own: give the URL of PostgreSQL itself"
            )


def _session(conn: Connection[Any]) -> int:
    (pid,) = conn.execute("SELECT pg_catalog.pg_backend_pid()", prepare=False).fetchone() or (0,)
    return int(pid)
