"""Activities go from one table into months and back while others write, and whoever is killed is run again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event
from time import monotonic
from typing import Any

import psycopg
import pytest

from registry.database import drift, migrate, months
from registry.database.stepping import back
from registry.errors import Conflict
from tests.support.schema.counts import assert_exact
from tests.support.schema.months import everything, fill

Conn = psycopg.Connection[Any]

WRITERS = 3
MOVER = "import sys, psycopg; from registry.database import months; c = psycopg.connect(sys.argv[1]); months.move(c, by_month=sys.argv[2] == 'on', blocks=1)"
NOW = "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description) SELECT 'w', id, 'other', 'now' FROM worktrees RETURNING id"
ANY_TIME = (
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)"
    " SELECT 'w', id, 'other', 'some time', now() + (random() - 0.5) * interval '3800 years' FROM worktrees RETURNING id"
)
RETENTION = "SELECT cleanup_old_activities(600 + (random() * 3000)::integer)"


class Written:
    """What writers were told, and how long the slowest of them waited."""

    def __init__(self) -> None:
        self.ids: set[object] = set()
        self.slowest = 0.0


@contextmanager
def writers(url: str, statements: tuple[str, ...]) -> Iterator[Written]:
    """Inside the block some write without a pause; each statement of theirs must succeed."""
    written, ended = Written(), Event()

    def write(number: int) -> None:
        with psycopg.connect(url, autocommit=True) as conn:
            while not ended.is_set():
                for statement in statements[number % len(statements) :] + statements[: number % len(statements)]:
                    began = monotonic()
                    rows = conn.execute(statement.encode()).fetchall()
                    written.slowest = max(written.slowest, monotonic() - began)
                    if "RETURNING" in statement:
                        written.ids.update(id_ for (id_,) in rows)

    with ThreadPoolExecutor(WRITERS) as pool:
        running = [pool.submit(write, number) for number in range(WRITERS)]
        try:
            yield written
        finally:
            ended.set()
        for one in running:
            one.result()


@pytest.mark.parametrize("is_killed", [False, True], ids=["undisturbed", "killed"])
def test_no_activity_is_lost_or_doubled_on_the_way_there_and_back(database: str, is_killed: bool) -> None:
    fill(database, activities=2_000)
    with psycopg.connect(database, autocommit=True) as conn:
        for by_month in (True, False):
            before = everything(conn)
            with writers(database, (NOW, ANY_TIME)) as written:
                if is_killed:
                    kill_movers(database, "on" if by_month else "off")
                months.move(conn, by_month=by_month)

            after = everything(conn)
            assert months.state(conn)[:2] == (by_month, False)
            assert after.keys() == before.keys() | written.ids
            assert {id_: after[id_] for id_ in before} == before
            assert_exact(conn)
            assert drift.differing(conn) == []
            assert conn.execute("SELECT count(*) FROM outbox WHERE entity = 'activity'").fetchone() == (len(after),)


def kill_movers(url: str, way: str) -> None:
    """Begin the move some times, each a little longer, and kill who does it."""
    for seconds in (0.6, 0.8, 1.0):
        mover = subprocess.Popen([sys.executable, "-c", MOVER, url, way])
        with suppress(subprocess.TimeoutExpired):
            mover.wait(seconds)
        mover.kill()
        mover.wait()


def test_what_retention_removes_meanwhile_is_not_there_again(database: str) -> None:
    fill(database, activities=2_000)
    with psycopg.connect(database, autocommit=True) as conn:
        for by_month in (True, False):
            with writers(database, (RETENTION, ANY_TIME)):
                months.move(conn, by_month=by_month, blocks=1)
            assert_exact(conn)
            conn.execute("SELECT cleanup_old_activities(600)")
