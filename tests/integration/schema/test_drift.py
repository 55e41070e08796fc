"""What somebody changed by hand in functions, views and triggers is told, and replaced only with a word."""

from __future__ import annotations

import psycopg
import pytest

from publisher.doctor import examine
from registry.database import adoption, migrate
from registry.database.drift import differing
from tests.support.commandline import CommandLine, command_line
from tests.support.schema.migrations import NAMES, migration
from tests.support.world import World

VIEW = "CREATE OR REPLACE VIEW v_inflight_work AS SELECT w.id FROM worktrees w"
BY_HAND = {
    "function get_registry_stats": (
        "ALTER FUNCTION get_registry_stats() SET work_mem = '1MB'",
        "ALTER FUNCTION get_registry_stats() RESET work_mem",
    ),
    "function guard_project": (
        "CREATE OR REPLACE FUNCTION guard_project() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        None,
    ),
    "trigger projects_guard of table projects": ("DROP TRIGGER projects_guard ON projects", None),
    "view v_inflight_work": (f"DROP VIEW v_inflight_work; {VIEW}", None),
}

_AS_MEMBERS = """
INSERT INTO pg_depend (classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype)
SELECT %s::regclass, one.oid, 0, 'pg_extension'::regclass, e.oid, 0, 'e'
FROM %s AS one, pg_extension AS e
WHERE e.extname = 'plpgsql'
"""
MEMBERS = {
    "a function, as each table": _AS_MEMBERS % ("'pg_proc'", "pg_class"),
    "a table, as each function": _AS_MEMBERS % ("'pg_class'", "pg_proc"),
}


def names(conn: psycopg.Connection) -> list[str]:
    return [str(one) for one in differing(conn)]


@pytest.mark.parametrize("name", BY_HAND)
def test_what_was_changed_by_hand_is_found(database: str, name: str) -> None:
    change, back = BY_HAND[name]
    with psycopg.connect(database, autocommit=True) as conn:
        assert names(conn) == []
        conn.execute(change.encode())
        assert names(conn) == [name]
        if back is not None:
            conn.execute(back.encode())
            assert names(conn) == []


def test_rights_comments_and_what_others_add_are_nobody_s_business(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("COMMENT ON FUNCTION get_registry_stats() IS 'mine'")
        conn.execute("REVOKE EXECUTE ON FUNCTION get_registry_stats() FROM PUBLIC")
        conn.execute("CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        conn.execute("CREATE VIEW v_mine AS SELECT 1 AS one")
        assert names(conn) == []


@pytest.mark.superuser
@pytest.mark.parametrize("member", MEMBERS)
def test_a_number_that_a_member_of_an_extension_has_in_another_catalog_hides_nothing(
    database: str, member: str
) -> None:
    """An OID is one of its catalog: pg_upgrade keeps those of tables and gives functions new ones."""
    with psycopg.connect(database) as conn:
        conn.execute("SET allow_system_table_mods = on")
        assert conn.execute(MEMBERS[member].encode()).rowcount
        assert names(conn) == []


async def test_doctor_tells_what_was_changed_by_hand(world: World) -> None:
    world.write(1)
    async with world.relay():
        await world.drained()
        assert not [one.text for one in await examine(world.settings()) if "migrations" in one.text]
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute(BY_HAND["function guard_project"][0].encode())
            conn.execute("DROP VIEW v_inflight_work")
        told = [one.text for one in await examine(world.settings()) if "migrations" in one.text]
    assert [text.split(":")[0] for text in told] == [
        "function guard_project was changed by hand",
        "view v_inflight_work is missing",
    ]
    assert [text.rpartition("/")[2] for text in told] == ["functions.sql", "views.sql"]


def test_a_later_migration_says_which_functions_it_replaces_that_were_changed_by_hand(database: str) -> None:
    packaged = migrate.load()
    later = migration(
        packaged[-1].version + 1,
        """
        CREATE OR REPLACE FUNCTION guard_project() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
        CREATE OR REPLACE FUNCTION public.mine() RETURNS integer LANGUAGE sql AS $f$ SELECT 2 $f$;
        CREATE OR REPLACE FUNCTION fresh() RETURNS integer LANGUAGE sql AS $f$ SELECT 3 $f$;
        """,
    )
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        assert adoption.replaced(conn, [*packaged, later], [later]) == ["function mine"]
        conn.execute(BY_HAND["function guard_project"][0].encode())
        _, changed = migrate.upgrade(conn, migrations=[*packaged, later])
        assert changed.replaced == ["function guard_project", "function mine"]
        assert conn.execute("SELECT mine()").fetchone() == (2,)
        assert adoption.replaced(conn, [*packaged, later], []) == []


def test_migrate_says_what_it_replaces(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli: CommandLine = command_line(monkeypatch, capsys, DATABASE_URL=empty_database)
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute("CREATE FUNCTION guard_project() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    assert (
        "would replace function guard_project, which is not that of the migrations"
        in cli("migrate", "up", "--dry-run").out
    )
    done = cli("migrate", "up", "--json")
    assert (done.json["replaced"], done.json["applied"]) == (["function guard_project"], NAMES)
    with psycopg.connect(empty_database) as conn:
        assert names(conn) == []
