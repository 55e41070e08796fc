"""Activities go from one table into months and back while others write, and whoever is killed is run again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from threading import Event
from time import monotonic
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from registry.database import drift, migrate, months
from registry.database.months import patience
from registry.database.stepping import back
from registry.errors import Conflict
from tests.support.schema.counts import assert_exact
from tests.support.schema.migrations import catalogs
from tests.support.schema.months import everything, fill
from tests.support.services import wait_until

Conn = psycopg.Connection[Any]

WRITERS = 3
MOVER = """
import sys, psycopg
from registry.database import months
months.move(psycopg.connect(sys.argv[1]), by_month=sys.argv[2] == "on", blocks=1)
"""
NOW = (
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
    " SELECT 'w', id, 'other', 'now' FROM worktrees RETURNING id"
)
ANY_TIME = (
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)"
    " SELECT 'w', id, 'other', 'some time', now() + (random() - 0.5) * interval '3800 years' FROM worktrees"
    " RETURNING id"
)
# One at a time: two that delete the same rows, each in an order of its own, meet in a circle anywhere.
RETENTION = "SELECT cleanup_old_activities(600 + (random() * 3000)::integer) FROM pg_advisory_xact_lock(1)"


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


def test_no_activity_is_lost_or_doubled_on_the_way_there_and_back(database: str) -> None:
    """Movers are killed, and the last one ends what they began; others write all the while."""
    fill(database, activities=2_000)
    with psycopg.connect(database, autocommit=True) as conn:
        for by_month in (True, False):
            before = everything(conn)
            with writers(database, (NOW, ANY_TIME)) as written:
                kill_movers(database, "on" if by_month else "off")
                months.move(conn, by_month=by_month)

            after = everything(conn)
            assert months.state(conn)[:2] == (by_month, False)
            assert after.keys() == before.keys() | written.ids
            assert {id_: after[id_] for id_ in before} == before
            assert_exact(conn)
            assert drift.differing(conn) == []
            assert conn.execute("SELECT count(*) FROM outbox WHERE entity = 'activity'").fetchone() == (len(after),)


@pytest.mark.long
def test_a_million_activities_are_moved_beside_their_writers(database: str) -> None:
    fill(database, activities=1_000_000)
    with psycopg.connect(database, autocommit=True) as conn:
        for by_month in (True, False):
            before, began = everything(conn), monotonic()
            with writers(database, (NOW,)) as written:
                months.move(conn, by_month=by_month)
            print(f"\nby month: {by_month}; {monotonic() - began:.0f} s, the slowest write {written.slowest:.2f} s")
            assert everything(conn).keys() == before.keys() | written.ids
            assert_exact(conn)


def kill_movers(url: str, way: str) -> None:
    """Begin the move some times, each a little longer, and kill who does it; it is begun then, and has not ended."""
    for seconds in (0.0, 0.2):
        mover = subprocess.Popen([sys.executable, "-c", MOVER, url, way])
        with psycopg.connect(url, autocommit=True) as conn:
            wait_until(lambda: months.state(conn).is_moving)  # ends before the next round
        with suppress(subprocess.TimeoutExpired):
            mover.wait(seconds)
        mover.kill()
        mover.wait()
    with psycopg.connect(url, autocommit=True) as conn:
        assert months.state(conn).is_moving


def test_what_retention_removes_meanwhile_is_not_there_again(database: str) -> None:
    fill(database, activities=2_000)
    with psycopg.connect(database, autocommit=True) as conn:
        for by_month in (True, False):
            with writers(database, (RETENTION, ANY_TIME)):
                months.move(conn, by_month=by_month, blocks=1)
            assert_exact(conn)

            conn.execute("SELECT cleanup_old_activities(600)")
            left = conn.execute("SELECT count(*) FROM agent_activities WHERE created_at < now() - interval '600 days'")
            assert left.fetchone() == (0,)


def test_a_transaction_that_began_before_it_sees_what_it_saw(database: str) -> None:
    """Its snapshot is older than the copy: the copy takes the table's place only when it has ended."""
    fill(database, activities=100)
    with psycopg.connect(database) as reader, psycopg.connect(database, autocommit=True) as conn:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT FROM projects")
        with ThreadPoolExecutor(1) as pool:
            moving = pool.submit(lambda: months.move(conn, by_month=True))
            with psycopg.connect(database, autocommit=True) as other:
                waits = "SELECT query LIKE '%%virtualxid%%' FROM pg_stat_activity WHERE pid = %s"
                mover = (conn.info.backend_pid,)
                wait_until(lambda: moving.done() or other.execute(waits, mover).fetchone() == (True,))
            assert not moving.done()
            assert reader.execute("SELECT count(*) FROM agent_activities").fetchone() == (100,)
            reader.rollback()
            moving.result(60)
        assert months.state(conn).by_month


@pytest.mark.parametrize("end", [months.cancel, partial(months.move, by_month=False)], ids=["given up", "ended"])
def test_writers_do_not_wait_while_somebody_is_at_the_copy(
    database: str, monkeypatch: pytest.MonkeyPatch, end: Callable[[Conn], int]
) -> None:
    """Who ends a move keeps writers out, and must not wait for anybody else meanwhile, as for a vacuum."""
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(import_module(months.move.__module__), "_wait_for_those_before", lambda _: None)
    attempts = (
        "SELECT a.xact_start, l.relation::regclass FROM pg_stat_activity a LEFT JOIN pg_locks l ON l.pid = a.pid"
        " AND NOT l.granted AND l.relation <> 'agent_activities'::regclass"
        " WHERE a.pid = %s AND a.query ~ 'LOCK|_activity_move' AND a.xact_start IS NOT NULL"
    )
    fill(database, activities=100)
    with (
        psycopg.connect(database, autocommit=True) as conn,
        psycopg.connect(database, autocommit=True) as other,
        psycopg.connect(database) as somebody,
        ThreadPoolExecutor(1) as pool,
    ):
        months.move(conn, by_month=True)
        conn.execute("SELECT begin_activity_move(false)")
        somebody.execute("LOCK TABLE agent_activities_next IN ACCESS SHARE MODE")
        ending = pool.submit(end, conn)
        seen: set[tuple[object, ...]] = set()
        while len(seen) < 3 and not ending.done():
            seen.update(other.execute(attempts, (conn.info.backend_pid,)).fetchall())
        somebody.rollback()
        assert ending.result(60)
        assert len(seen) == 3
        assert {waits_for for _, waits_for in seen} == {None}


def test_a_move_that_is_given_up_leaves_nothing(database: str) -> None:
    fill(database, activities=100)
    with psycopg.connect(database, autocommit=True) as conn:
        before = catalogs(database), everything(conn)
        assert not months.cancel(conn)
        conn.execute("SELECT begin_activity_move(true)")

        assert months.cancel(conn)

        assert (catalogs(database), everything(conn)) == before


def test_an_id_that_is_in_two_months_is_named_on_the_way_back(database: str) -> None:
    fill(database, activities=100)
    twice = (
        "INSERT INTO agent_activities (id, agent_id, worktree_id, activity_type, description, created_at)"
        " SELECT %s, 'a', id, 'other', 'd', now() - %s * interval '2 months' FROM worktrees WHERE name = 'w1'"
    )
    with psycopg.connect(database, autocommit=True) as conn:
        months.move(conn, by_month=True)
        id_ = uuid4()
        for ago in (0, 1):
            conn.execute(twice.encode(), (id_, ago))

        with pytest.raises(Conflict, match=f"1 activities are in one of the two alone, as {id_}"):
            months.move(conn, by_month=False)

        assert months.cancel(conn)
        assert months.state(conn)[:2] == (True, False)


def test_what_the_migrations_bring_later_comes_by_month_and_goes(empty_database: str) -> None:
    packaged = migrate.load()
    until_017 = [one for one in packaged if one.version <= 17]
    with psycopg.connect(empty_database, autocommit=True) as conn:
        migrate.apply(conn, migrations=until_017)
        fill(empty_database, activities=100)
        months.move(conn, by_month=True)

        migrate.apply(conn)
        assert drift.differing(conn) == []
        assert back.down(conn, to=17) == [one.name for one in reversed(packaged) if one.version > 17]
        assert len(everything(conn)) == 100


def test_the_schema_is_not_taken_back_under_months(database: str) -> None:
    with psycopg.connect(database) as conn:
        months.move(conn, by_month=True)
        with pytest.raises(Conflict, match="imi-registry months off comes first"):
            back.down(conn, to=14)
        months.move(conn, by_month=False)
        assert back.down(conn, to=16) == ["017_months.sql"]
