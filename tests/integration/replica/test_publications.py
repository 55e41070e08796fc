"""Readers of changes beside us, who publish all tables, keep nobody from writing, and migrations from nothing."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from registry.database import migrate, months
from tests.support import histories
from tests.support.databases import name_of, new_database, plain_role, url_of
from tests.support.replica.pairs import Pair, Sites
from tests.support.schema.migrations import run_sql

EVERYTHING = "CREATE PUBLICATION everything FOR ALL TABLES"
SCHEMA = "CREATE PUBLICATION everything FOR TABLES IN SCHEMA public"
TABLES = """
SELECT c.oid::regclass::text, (SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = 1)
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
"""
WITHOUT_IDENTITY = """
SELECT c.relname::text
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT CASE c.relreplident
    WHEN 'f' THEN true
    WHEN 'd' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
    WHEN 'i' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident)
    ELSE false
END
"""
COMMAND = """
SELECT verdict, message FROM apply_command(
    gen_random_uuid(), 'project.register',
    '{"name": "sent", "remote_origin": "git@github.com:o/sent.git"}', '\\x00', gen_random_uuid()
)
"""


@pytest.fixture
def unmigrated(servers: Sites) -> Iterator[str]:
    """URL, as its owner, of an empty database at a server with logical WAL."""
    with plain_role(servers.source.url) as owner, new_database(servers.source.url, owner) as url:
        yield url


def without_identity(conn: psycopg.Connection) -> list[str]:
    return [name for (name,) in conn.execute(WITHOUT_IDENTITY).fetchall()]


def test_each_table_tells_which_of_its_rows_changed_however_the_log_is_kept(database: str) -> None:
    histories.write(database)
    with psycopg.connect(database, autocommit=True) as conn:
        assert without_identity(conn) == []
        for by_month in (not months.state(conn).by_month, months.state(conn).by_month):
            conn.execute("SELECT begin_activity_move(%s)", [by_month])
            assert without_identity(conn) == []
            months.move(conn, by_month=by_month)
            assert without_identity(conn) == []


@pytest.mark.parametrize("publication", [EVERYTHING, SCHEMA])
@pytest.mark.parametrize("by_month", [False, True])
def test_all_writes_go_on_while_all_tables_are_published(registries: Pair, publication: str, by_month: bool) -> None:
    with psycopg.connect(registries.source, autocommit=True) as conn:
        months.move(conn, by_month=by_month)
        conn.execute(publication.encode())
        histories.write(registries.source)

        assert conn.execute(COMMAND).fetchall() == [("applied", "applied")]
        conn.execute("CALL fold_counts()")
        assert conn.execute("SELECT count(*) FROM count_delta").fetchone() == (0,)
        conn.execute("CALL recount_registry()")

        conn.execute("SET session_replication_role = replica")  # of the table, and not what its triggers say
        for table, column in conn.execute(TABLES).fetchall():
            named = sql.SQL(table), sql.Identifier(column)
            conn.execute(sql.SQL("DELETE FROM {0} WHERE {1} IS NULL").format(*named))
        assert conn.execute("SELECT * FROM differing_counts()").fetchall() == []


@pytest.mark.parametrize("known", [0, 6, 24])
def test_a_database_whose_tables_are_all_published_is_migrated(servers: Sites, unmigrated: str, known: int) -> None:
    with psycopg.connect(unmigrated) as conn:
        if known:
            migrate.apply(conn, migrations=migrate.load()[:known])
            conn.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
            conn.commit()
        run_sql(url_of(servers.source.url, name_of(unmigrated)), EVERYTHING)
        migrate.apply(conn)
        migrate.check(conn)
        conn.commit()
    histories.write(unmigrated)
    run_sql(unmigrated, "CALL fold_counts()", "CALL recount_registry()")
