"""What others hung on the table of activities goes with it when that is moved, or is named and stays."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql

from registry.database import months
from registry.database.roles.ownership import as_owner
from registry.errors import Conflict
from tests.support.databases import name_of, plain_role, url_of
from tests.support.schema.months import fill

Conn = psycopg.Connection[Any]

PARTS = """
FROM pg_class AS c
WHERE c.relkind = 'r' AND (
    c.oid = 'agent_activities'::regclass
    OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'agent_activities'::regclass)
)
"""
"""What has the rows: the table, or its months."""
STORAGE = "SELECT DISTINCT reloptions, (SELECT t.reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid)" + PARTS  # noqa: S608  # of constants


def test_what_others_hung_on_the_table_goes_with_it(database: str, admin_url: str) -> None:
    fill(database, activities=10)
    with plain_role(admin_url, database) as somebody, psycopg.connect(database, autocommit=True) as conn:
        name = sql.Identifier(somebody.name)
        conn.execute("CREATE VIEW v AS SELECT id, description FROM agent_activities WHERE agent_id = 'a'")
        conn.execute("CREATE INDEX by_path ON agent_activities (file_path)")
        conn.execute(
            """CREATE INDEX "by ""path"", \\1 ON public.agent_activities USING it" ON agent_activities (file_path)"""
        )
        for (part,) in conn.execute(f"SELECT oid::regclass::text {PARTS}".encode()).fetchall():
            options = "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_enabled = off"
            conn.execute(f"ALTER TABLE {part} SET ({options})".encode())
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
            conn.execute("SELECT make_activity_months(5)")
            assert hung(conn) == before


def hung(conn: Conn) -> list[object]:
    """Triggers, indexes, rights, storage parameters and views of the table."""
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
        STORAGE,
    )
    return [conn.execute(query.encode()).fetchall() for query in queries]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("CREATE MATERIALIZED VIEW m AS SELECT id FROM agent_activities", "materialized view public.m reads it"),
        ("CREATE TABLE f (id uuid REFERENCES agent_activities)", "foreign key f_id_fkey of public.f refers to it"),
        ("ALTER TABLE agent_activities ENABLE ROW LEVEL SECURITY", "row level security is on"),
        ("CREATE TABLE child () INHERITS (agent_activities)", "table public.child inherits from it"),
        ("CREATE TABLE t (logged agent_activities)", "column logged of table public.t depends on it"),
        (
            "CREATE FUNCTION f() RETURNS SETOF agent_activities LANGUAGE sql AS 'SELECT * FROM agent_activities'",
            r"function public.f\(\) depends on it",
        ),
        (
            "CREATE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM agent_activities; END",
            r"function public.f\(\) depends on it",
        ),
        pytest.param(
            "CREATE PUBLICATION p FOR ALL TABLES", "publication p has it: drop it", marks=pytest.mark.superuser
        ),
    ],
)
@pytest.mark.parametrize("is_begun", [False, True], ids=["before", "meanwhile"])
def test_what_would_be_left_behind_is_named_and_stays(database: str, made: str, told: str, is_begun: bool) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        if is_begun:
            with as_owner(conn):
                conn.execute("SELECT begin_activity_move(true)")
        conn.execute(made.encode())
        with pytest.raises(Conflict, match=told):
            months.move(conn, by_month=True)
        assert months.state(conn)[:2] == (False, is_begun)
        assert months.cancel(conn) == is_begun


def test_a_view_of_another_owner_is_named_and_stays(database: str, admin_url: str) -> None:
    with plain_role(admin_url, database) as dba, psycopg.connect(database, autocommit=True) as conn:
        name = sql.Identifier(dba.name)
        conn.execute(sql.SQL("GRANT SELECT ON agent_activities TO {}").format(name))
        conn.execute("CREATE SCHEMA theirs")
        conn.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA theirs TO {}").format(name))
        with psycopg.connect(url_of(database, name_of(database), dba), autocommit=True) as their:
            their.execute("CREATE VIEW theirs.seen AS SELECT id FROM agent_activities")
        with pytest.raises(Conflict, match=f"view theirs.seen reads it, and is of another owner, {dba.name}"):
            months.move(conn, by_month=True)
        assert months.state(conn)[:2] == (False, False)
