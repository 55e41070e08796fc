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
        ("CREATE MATERIALIZED VIEW m AS SELECT id FROM agent_activities", "materialized view public.m depends on it"),
        ("CREATE TABLE f (id uuid REFERENCES agent_activities)", "constraint f_id_fkey on table public.f depends on"),
        (
            "ALTER TABLE agent_activities ADD CONSTRAINT mine FOREIGN KEY (worktree_id) REFERENCES worktrees NOT VALID",
            "constraint mine on table public.agent_activities depends on it",
        ),
        ("ALTER TABLE agent_activities ENABLE ROW LEVEL SECURITY", "row level security is on"),
        ("CREATE POLICY p ON agent_activities USING (true)", "policy p on table public.agent_activities depends on it"),
        (
            "CREATE TABLE t (); CREATE POLICY p ON t USING (EXISTS (SELECT FROM agent_activities))",
            "policy p on table public.t depends on it",
        ),
        (
            "CREATE RULE r AS ON DELETE TO agent_activities DO ALSO NOTIFY gone",
            "rule r on table public.agent_activities depends on it",
        ),
        (
            "CREATE TABLE t (); CREATE RULE r AS ON INSERT TO t DO ALSO SELECT count(*) FROM agent_activities",
            "rule r on table public.t depends on it",
        ),
        (
            "CREATE VIEW v AS SELECT; CREATE RULE r AS ON DELETE TO v DO INSTEAD DELETE FROM agent_activities",
            "rule r on view public.v depends on it",
        ),
        (
            "CREATE VIEW v AS SELECT a.id, a.description, count(*) FROM agent_activities a GROUP BY a.id",
            "view public.v depends on constraint agent_activities_pkey on table public.agent_activities",
        ),
        (
            "CREATE VIEW v AS SELECT outbox_activity_data(a, NULL, NULL, NULL) FROM agent_activities a",
            r"view public.v depends on function public.outbox_activity_data\(public.agent_activities,",
        ),
        ("CREATE TABLE child () INHERITS (agent_activities)", "table public.child depends on it"),
        (
            "CREATE TABLE t (logged agent_activities)",
            "column logged of table public.t depends on type public.agent_activities",
        ),
        (
            "CREATE FUNCTION f() RETURNS SETOF agent_activities LANGUAGE sql AS 'SELECT * FROM agent_activities'",
            r"function public.f\(\) depends on type public.agent_activities",
        ),
        (
            "CREATE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM agent_activities; END",
            r"function public.f\(\) depends on it",
        ),
        (
            "CREATE FUNCTION f(agent_activities) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
            "CREATE TRIGGER t AFTER INSERT ON agent_activities FOR EACH ROW WHEN (f(NEW))"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            r"trigger t on table public.agent_activities depends on function public.f\(public.agent_activities\)",
        ),
        (
            "CREATE FUNCTION f(agent_activities) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
            "CREATE FUNCTION g(a agent_activities) RETURNS boolean BEGIN ATOMIC SELECT f(a); END",
            r"function public.g\(public.agent_activities\) depends on function public.f\(public.agent_activities\)",
        ),
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            "CREATE TRIGGER t AFTER INSERT ON agent_activities REFERENCING NEW TABLE AS written"
            " FOR EACH ROW EXECUTE FUNCTION f()",
            "trigger t is of each row and has a transition table",
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


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("CREATE VIEW v AS SELECT id FROM agent_activities_other", "view public.v depends on table {}"),
        ("CREATE MATERIALIZED VIEW m AS SELECT id FROM agent_activities_other", "view public.m depends on table {}"),
        (
            "CREATE TABLE f (id uuid REFERENCES agent_activities_other)",
            "constraint f_id_fkey on table public.f depends",
        ),
        ("CREATE POLICY p ON agent_activities_other USING (true)", "policy p on table {} depends on"),
        (
            "CREATE TRIGGER t AFTER INSERT ON agent_activities_other EXECUTE FUNCTION refuse_direct_month()",
            "trigger t on table {} depends on",
        ),
        pytest.param(
            "CREATE PUBLICATION p FOR ALL TABLES", "publication p has it: drop it", marks=pytest.mark.superuser
        ),
    ],
)
def test_what_somebody_hung_on_one_month_is_named_and_stays(database: str, made: str, told: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        months.move(conn, by_month=True)
        conn.execute(made.encode())
        with pytest.raises(Conflict, match=told.format("public.agent_activities_other")):
            months.move(conn, by_month=False)
        assert months.state(conn)[:2] == (True, False)


def test_a_move_gives_nobody_a_right_that_he_had_not(database: str, admin_url: str) -> None:
    """Default privileges give it of each new table, and it was taken of the log."""
    given = (
        "SELECT DISTINCT r.privilege_type FROM pg_class c, aclexplode(c.relacl) r"
        " WHERE c.relname LIKE 'agent\\_activities%%' AND c.relkind IN ('r', 'p') AND r.grantee = %s::regrole"
    )
    with plain_role(admin_url, database) as somebody, psycopg.connect(database, autocommit=True) as conn:
        name = sql.Identifier(somebody.name)
        conn.execute(sql.SQL("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {}, PUBLIC").format(name))
        conn.execute(sql.SQL("GRANT SELECT, INSERT ON agent_activities TO {}").format(name))
        for by_month in (True, False):
            with as_owner(conn):
                conn.execute("SELECT begin_activity_move(%s)", [by_month])
            for _ in range(2):
                rights = {right for (right,) in conn.execute(given, [somebody.name])}
                assert rights == {"SELECT", "INSERT"}
                assert conn.execute(given, ["-"]).fetchall() == []
                months.move(conn, by_month=by_month)
                conn.execute("SELECT make_activity_months(5)")


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


def test_a_temporary_view_of_another_session_is_named_and_stays(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn, psycopg.connect(database, autocommit=True) as other:
        other.execute("CREATE TEMPORARY VIEW seen AS SELECT id FROM agent_activities")
        with pytest.raises(Conflict, match=r"view pg_temp_\d+.seen depends on it"):
            months.move(conn, by_month=True)
        assert months.state(conn)[:2] == (False, False)


@pytest.mark.parametrize("where", ["theirs", "pg_temp"])
@pytest.mark.parametrize("is_begun", [False, True], ids=["before", "meanwhile"])
def test_a_function_of_another_owner_is_named_and_stays_his(
    database: str, admin_url: str, where: str, is_begun: bool
) -> None:
    """Made anew, one that runs with its owner's rights would have those of the registry's."""
    with plain_role(admin_url, database) as stranger, psycopg.connect(database, autocommit=True) as conn:
        name = sql.Identifier(stranger.name)
        conn.execute("CREATE SCHEMA theirs")
        conn.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA theirs TO {}").format(name))
        if is_begun:
            with as_owner(conn):
                conn.execute("SELECT begin_activity_move(true)")
        with psycopg.connect(url_of(database, name_of(database), stranger), autocommit=True) as their:
            their.execute(
                f"CREATE FUNCTION {where}.f(public.agent_activities) RETURNS text LANGUAGE sql SECURITY DEFINER"
                " AS 'SELECT current_user::text'".encode()
            )
            with pytest.raises(Conflict, match=r"function \S+\.f\(public.agent_activities\) depends on type"):
                months.move(conn, by_month=True)
            if is_begun:  # also where it came after the last look
                with as_owner(conn), pytest.raises(psycopg.errors.DependentObjectsStillExist):
                    conn.execute("SELECT finish_activity_move()")
            assert their.execute(f"SELECT {where}.f(NULL)".encode()).fetchone() == (stranger.name,)


def test_a_right_that_was_taken_while_a_move_goes_on_is_on_no_month(database: str, admin_url: str) -> None:
    with plain_role(admin_url, database) as somebody, psycopg.connect(database, autocommit=True) as conn:
        name = sql.Identifier(somebody.name)
        conn.execute(sql.SQL("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {}").format(name))
        conn.execute(sql.SQL("GRANT SELECT ON agent_activities TO {}").format(name))
        with as_owner(conn):
            conn.execute("SELECT begin_activity_move(true)")
        conn.execute(sql.SQL("REVOKE SELECT ON agent_activities FROM {}").format(name))
        months.move(conn, by_month=True)
        left = conn.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE 'agent\\_activities%%'"
            " AND has_table_privilege(%s, oid, 'SELECT')",
            [somebody.name],
        ).fetchall()
    assert left == []
