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
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from registry.database import drift, migrate, months
from registry.database.stepping import back
from registry.errors import Conflict
from tests.support.databases import plain_role
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
    for seconds in (0.0, 0.1, 0.2):
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


def test_what_others_hung_on_the_table_goes_with_it(database: str, admin_url: str) -> None:
    fill(database, activities=10)
    with plain_role(admin_url, database) as somebody, psycopg.connect(database, autocommit=True) as conn:
        name = sql.Identifier(somebody.name)
        conn.execute("CREATE VIEW v AS SELECT id, description FROM agent_activities WHERE agent_id = 'a'")
        conn.execute("CREATE INDEX by_path ON agent_activities (file_path)")
        conn.execute(
            "CREATE TRIGGER t AFTER INSERT ON agent_activities EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        )
        conn.execute("ALTER TABLE agent_activities DISABLE TRIGGER t")
        conn.execute(sql.SQL("GRANT SELECT ON v TO {}").format(name))
        conn.execute(sql.SQL("GRANT SELECT (id), UPDATE (metadata) ON agent_activities TO {}").format(name))
        conn.execute(sql.SQL("GRANT INSERT ON agent_activities TO {} WITH GRANT OPTION").format(name))

        for by_month in (True, False):
            before = hung(conn)
            months.move(conn, by_month=by_month)
            assert hung(conn) == before


def hung(conn: Conn) -> list[object]:
    """Triggers, indexes, rights and views of the table."""
    queries = (
        "SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger"
        " WHERE tgrelid = 'agent_activities'::regclass ORDER BY tgname",
        "SELECT c.relname, replace(pg_get_indexdef(c.oid), 'ON ONLY', 'ON') FROM pg_index JOIN pg_class c"
        " ON c.oid = indexrelid WHERE indrelid = 'agent_activities'::regclass AND NOT indisprimary ORDER BY 1",
        "SELECT attname, attacl FROM pg_attribute WHERE attrelid = 'agent_activities'::regclass AND attnum > 0",
        "SELECT (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(relacl) a), obj_description(oid), relowner"
        " FROM pg_class WHERE oid = 'agent_activities'::regclass",
        "SELECT relname, relacl, pg_get_viewdef(oid), reloptions FROM pg_class WHERE relname LIKE 'v%'"
        " AND relnamespace = 'public'::regnamespace ORDER BY 1",
        "SELECT count(*) FROM v",
    )
    return [conn.execute(query.encode()).fetchall() for query in queries]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("CREATE MATERIALIZED VIEW m AS SELECT id FROM agent_activities", "materialized view public.m reads it"),
        ("CREATE TABLE f (id uuid REFERENCES agent_activities)", "foreign key f_id_fkey of public.f refers to it"),
        ("ALTER TABLE agent_activities ENABLE ROW LEVEL SECURITY", "row level security is on"),
        ("CREATE TABLE child () INHERITS (agent_activities)", "table public.child inherits from it"),
        pytest.param(
            "CREATE PUBLICATION p FOR ALL TABLES", "publication p has it: drop it", marks=pytest.mark.superuser
        ),
    ],
)
def test_what_would_be_left_behind_is_named_before_anything_is_done(database: str, made: str, told: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(made.encode())
        with pytest.raises(Conflict, match=told):
            months.move(conn, by_month=True)
        assert not months.state(conn).is_moving


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
