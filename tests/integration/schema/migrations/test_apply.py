"""The migration runner applies what is pending: once, whoever runs it, and psql as well."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.rows import dict_row

from registry.database import migrate
from registry.database.stepping.lock import LOCK
from registry.errors import Conflict, Invalid, Unavailable
from tests.integration.schema.migrations.test_senders_keys import applied
from tests.support.schema.migrations import MIGRATIONS, NAMES, catalogs, migration, psql, run_sql


def test_apply_brings_an_empty_database_up_to_date_once(empty_database: str) -> None:
    with psycopg.connect(empty_database) as conn:
        assert migrate.apply(conn) == NAMES
        assert migrate.apply(conn) == []
        migrate.check(conn)
        assert [(one.name, one.state) for one in migrate.status(conn)] == [(name, "applied") for name in NAMES]
        assert all(one.applied_at for one in migrate.status(conn))


@pytest.mark.parametrize("autocommit", [True, False])
def test_apply_leaves_the_connection_as_it_was(empty_database: str, autocommit: bool) -> None:
    with psycopg.connect(empty_database, autocommit=autocommit, row_factory=dict_row) as conn:
        migrate.apply(conn)
        assert conn.autocommit is autocommit
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        locks = conn.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()").fetchall()
        assert locks == []


def test_apply_within_an_open_transaction_is_refused(empty_database: str) -> None:
    with psycopg.connect(empty_database) as conn:
        conn.execute("SELECT 1")
        with pytest.raises(Invalid, match="no open transaction"):
            migrate.apply(conn)


def test_dry_run_names_what_is_pending_and_changes_nothing(empty_database: str) -> None:
    before = catalogs(empty_database)
    with psycopg.connect(empty_database) as conn:
        assert migrate.apply(conn, dry_run=True) == NAMES
    assert catalogs(empty_database) == before


def test_every_file_runs_twice_by_psql_and_is_then_recorded_by_apply(empty_database: str) -> None:
    for name in (*NAMES, *NAMES):
        done = psql(empty_database, MIGRATIONS / name)
        assert (done.returncode, done.stderr) == (0, ""), name
    by_hand = catalogs(empty_database)
    with psycopg.connect(empty_database) as conn:
        with pytest.raises(Conflict, match="run: imi-registry migrate"):
            migrate.check(conn)
        assert migrate.apply(conn) == NAMES
        migrate.check(conn)
    assert [row for row in catalogs(empty_database) if "schema_migrations" not in str(row)] == [
        row for row in by_hand if "schema_migrations" not in str(row)
    ]


def without_rights(database: str) -> list[tuple[object, ...]]:
    """What is in the catalogs but for rights: roles are the server's, and somebody may make them meanwhile."""
    return [row[:-1] for row in catalogs(database)]


def test_running_the_files_again_keeps_data_and_makes_no_event(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("SELECT register_project('kept', 'git@github.com:owner/kept.git')")
        applied(conn, "a", "of two senders", "flume")
        applied(conn, "b", "of two senders", "other")
        before = conn.execute("SELECT p.*, o.id FROM projects p, outbox o").fetchall()
    schema = without_rights(database)
    for _ in range(2):
        for name in NAMES:
            done = psql(database, MIGRATIONS / name)
            assert (done.returncode, done.stderr) == (0, ""), name
        assert without_rights(database) == schema
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT p.*, o.id FROM projects p, outbox o").fetchall() == before


def test_apply_does_not_depend_on_the_search_path_of_the_session(empty_database: str) -> None:
    with psycopg.connect(empty_database, options="-c search_path=pg_catalog") as conn:
        migrate.apply(conn)
    with psycopg.connect(empty_database) as conn:
        places = conn.execute(
            "SELECT DISTINCT relnamespace::regnamespace::text FROM pg_class WHERE relname IN ('projects', 'outbox')"
        ).fetchall()
    assert places == [("public",)]


def test_eight_threads_at_once_apply_each_migration_once(empty_database: str) -> None:
    def apply(_: int) -> list[str]:
        with psycopg.connect(empty_database) as conn:
            return migrate.apply(conn)

    with ThreadPoolExecutor(8) as pool:
        applied = list(pool.map(apply, range(8)))

    assert sorted(applied) == [[]] * 7 + [NAMES]


def test_eight_processes_at_once_apply_each_migration_once(empty_database: str) -> None:
    code = (
        "import psycopg, sys; from registry.database import migrate;"
        " print(len(migrate.apply(psycopg.connect(sys.argv[1]))))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, empty_database], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    counts = sorted(int(process.communicate(timeout=60)[0]) for process in started)
    assert counts == [0] * 7 + [len(NAMES)]


def test_a_lock_that_cannot_be_had_in_time_is_worth_a_retry(empty_database: str) -> None:
    first = migration(1, "CREATE TABLE a ();")
    with psycopg.connect(empty_database) as holder, psycopg.connect(empty_database) as conn:
        holder.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        conn.execute("SET lock_timeout = '10ms'")
        conn.commit()
        with pytest.raises(Unavailable, match="lock timeout"):
            migrate.apply(conn, migrations=[first])


@pytest.mark.parametrize(
    ("foreign", "name"),
    [
        ("CREATE TABLE projects (id int, title text)", "projects"),
        ("CREATE TABLE outbox (id bigint, payload text)", "outbox"),
        ("CREATE VIEW worktrees AS SELECT 1 AS id", "worktrees"),
        ("CREATE TABLE schema_migrations (version bigint, dirty boolean)", "schema_migrations"),
    ],
)
def test_a_foreign_table_of_the_same_name_is_refused_and_kept(empty_database: str, foreign: str, name: str) -> None:
    run_sql(empty_database, foreign)
    before = catalogs(empty_database)
    with psycopg.connect(empty_database) as conn:
        for dry_run in (True, False):
            with pytest.raises(Conflict, match=f"has a {name} that is not the registry's"):
                migrate.apply(conn, dry_run=dry_run)
    assert catalogs(empty_database) == before


def test_the_columns_of_every_table_are_known_before_it_is_created(database: str) -> None:
    expected = {name: columns for one in migrate.load() for name, columns in one.tables.items()}
    with psycopg.connect(database) as conn:
        rows = conn.execute(
            "SELECT c.relname, array_agg(a.attname::text) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0"
            " AND c.relname <> 'schema_migrations' GROUP BY c.relname"
        ).fetchall()
    found = {name: set(columns) for name, columns in rows}
    assert set(expected) == set(found)
    for name, columns in expected.items():
        assert columns, name
        assert columns <= found[name], name
