"""The way back, against a real PostgreSQL."""

from __future__ import annotations

import psycopg
import pytest

from registry.database import migrate
from registry.errors import Conflict
from tests.support.schema.migrations import MIGRATIONS, NAMES, catalogs, forgotten, psql, run_sql


@pytest.mark.parametrize("foreign", ["projects", "outbox", "schema_migrations"])
def test_rollback_spares_a_foreign_table_of_the_same_name(empty_database: str, foreign: str) -> None:
    run_sql(empty_database, f"CREATE TABLE {foreign} AS VALUES ('precious')")
    with psycopg.connect(empty_database) as conn:
        with pytest.raises(Conflict, match=f'"{foreign}" is not the registry\'s table; nothing was removed'):
            migrate.rollback(conn)
        assert conn.execute(f"TABLE {foreign}".encode()).fetchall() == [("precious",)]


@pytest.mark.parametrize("applied", range(len(NAMES) + 1))
def test_rollback_leaves_an_empty_database_however_far_it_was_migrated(empty_database: str, applied: int) -> None:
    before = catalogs(empty_database)
    with psycopg.connect(empty_database) as conn:
        if applied:
            migrate.apply(conn, migrations=migrate.load()[:applied])
            assert catalogs(empty_database) != before
        migrate.rollback(conn)
        assert forgotten(empty_database) == []
        assert catalogs(empty_database) == before
        migrate.rollback(conn)
    assert catalogs(empty_database) == before


def test_rollback_by_psql_of_a_registry_in_use_leaves_an_empty_database(database: str, empty_database: str) -> None:
    run_sql(database, "SELECT register_project('a', 'git@github.com:owner/a.git')")
    for _ in range(2):
        done = psql(database, MIGRATIONS / "999_rollback.sql")
        assert (done.returncode, done.stderr) == (0, "")
    assert catalogs(database) == catalogs(empty_database)
    with psycopg.connect(database) as conn:
        assert migrate.apply(conn) == NAMES


def test_apply_never_runs_the_rollback() -> None:
    assert migrate.ROLLBACK not in [one.name for one in migrate.load()]
    assert (MIGRATIONS / migrate.ROLLBACK).exists()


def test_rollback_keeps_everything_when_somebody_else_builds_on_it(database: str) -> None:
    run_sql(database, "CREATE VIEW mine AS SELECT name FROM projects")
    before = catalogs(database)
    with (
        psycopg.connect(database) as conn,
        pytest.raises(Conflict, match=r"999_rollback\.sql line \d+: cannot drop .*: view mine"),
    ):
        migrate.rollback(conn)
    assert catalogs(database) == before


@pytest.mark.parametrize(
    "use",
    [
        "CREATE TABLE mine (name text); CREATE INDEX mine_trgm ON mine USING gin (name gin_trgm_ops)",
        "CREATE FUNCTION mine(text) RETURNS real LANGUAGE plpgsql AS 'BEGIN RETURN similarity($1, $1); END'",
    ],
)
def test_rollback_keeps_the_extension_while_something_else_may_use_it(database: str, use: str) -> None:
    run_sql(database, use)
    with psycopg.connect(database) as conn:
        migrate.rollback(conn)
        assert conn.execute("SELECT extname FROM pg_extension WHERE extname = 'pg_trgm'").fetchall() == [("pg_trgm",)]
