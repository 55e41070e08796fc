"""Whoever installs and whoever writes is no superuser."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from registry.database import migrate
from registry.database.backfill import backfill
from registry.errors import RegistryError
from tests.support.before import original
from tests.support.databases import url_of
from tests.support.roles.calls import CALLS, COUNTS, HOSTS, OPEN, SERVICE
from tests.support.roles.owner_calls import OWNER
from tests.support.schema.migrations import MIGRATIONS, NAMES, catalogs, psql

Conn = psycopg.Connection[Any]


@pytest.fixture
def owned_database(admin_url: str) -> Iterator[str]:
    """URL of an empty database as its owner, who may log in and nothing else."""
    name, password = f"imi_owned_{secrets.token_hex(6)}", secrets.token_hex(8)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), password))
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(*[sql.Identifier(name)] * 2))
        yield make_conninfo(url_of(admin_url, name), user=name, password=password)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def superuser(admin_url: str, owned_database: str) -> Iterator[Conn]:
    """The owned database as somebody who may do everything."""
    name = psycopg.conninfo.conninfo_to_dict(owned_database)["dbname"]
    with psycopg.connect(url_of(admin_url, str(name)), autocommit=True) as conn:
        yield conn


@pytest.fixture
def nobody(superuser: Conn) -> Iterator[str]:
    """A role without any right of its own."""
    role = f"nobody_{secrets.token_hex(6)}"
    superuser.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    yield role
    superuser.execute("RESET ROLE")
    superuser.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
    superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def by_migrate(url: str) -> None:
    with psycopg.connect(url) as conn:
        assert migrate.apply(conn) == NAMES
        migrate.check(conn)


def by_psql(url: str) -> None:
    for _ in range(2):
        for name in NAMES:
            done = psql(url, MIGRATIONS / name)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), name


def back_by_migrate(url: str) -> None:
    with psycopg.connect(url) as conn:
        migrate.rollback(conn)


def back_by_psql(url: str) -> None:
    done = psql(url, MIGRATIONS / migrate.ROLLBACK)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


INSTALL = pytest.mark.parametrize("install", [by_migrate, by_psql])


@pytest.mark.parametrize(("install", "remove"), [(by_migrate, back_by_migrate), (by_psql, back_by_psql)])
def test_the_owner_of_a_database_installs_uses_and_removes_the_registry(
    owned_database: str, install: Callable[[str], None], remove: Callable[[str], None]
) -> None:
    before = catalogs(owned_database)

    install(owned_database)
    with psycopg.connect(owned_database, autocommit=True) as conn:
        ids = populate(conn)
        for call in CALLS.values():
            with conn.transaction(force_rollback=True):
                conn.execute(call.encode(), ids)
    remove(owned_database)

    assert catalogs(owned_database) == before


@INSTALL
def test_the_extension_may_be_in_any_schema_and_be_moved(
    owned_database: str, superuser: Conn, install: Callable[[str], None]
) -> None:
    superuser.execute('CREATE SCHEMA "Their Extensions"; CREATE EXTENSION pg_trgm SCHEMA "Their Extensions"')
    superuser.execute('GRANT USAGE ON SCHEMA "Their Extensions" TO PUBLIC')

    install(owned_database)

    search = b"SELECT name FROM search_projects('blodbank')"
    with psycopg.connect(owned_database, autocommit=True) as conn:
        conn.execute("SELECT register_project('bloodbank', 'git@github.com:o/bloodbank.git')")
        assert conn.execute(search).fetchall() == [("bloodbank",)]
        superuser.execute("CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO PUBLIC")
        superuser.execute("ALTER EXTENSION pg_trgm SET SCHEMA elsewhere")
        assert conn.execute(search).fetchall() == [("bloodbank",)]
        conn.execute("SELECT register_project('other', 'git@github.com:o/other.git')")


def test_an_extension_in_a_schema_that_is_closed_is_refused_by_its_name(owned_database: str, superuser: Conn) -> None:
    superuser.execute('CREATE SCHEMA "Their Extensions"; CREATE EXTENSION pg_trgm SCHEMA "Their Extensions"')
    refused = pytest.raises(RegistryError, match='may not use the schema "Their Extensions", which has the extension')
    with psycopg.connect(owned_database) as conn, refused as told:
        migrate.apply(conn)
    superuser.execute(str(told.value).split("run: ")[1].split(" (SQLSTATE")[0].encode())
    by_migrate(owned_database)


def test_the_owner_of_a_database_upgrades_the_original_schema(owned_database: str) -> None:
    original.create(owned_database, "convertible", "identity")
    with psycopg.connect(owned_database, autocommit=True) as conn:
        assert migrate.apply(conn) == NAMES
        assert backfill(conn) == 18


def test_a_writer_with_rights_on_the_four_tables_can_call_every_function(
    owned_database: str, superuser: Conn, nobody: str
) -> None:
    by_migrate(owned_database)
    ids = populate(superuser)
    superuser.execute(
        sql.SQL(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON projects, worktrees, worktree_types, agent_activities TO {}"
        ).format(sql.Identifier(nobody))
    )
    assert set(CALLS) | set(HOSTS) | set(SERVICE) | set(COUNTS) | set(OWNER) == functions_of_the_registry(superuser)

    superuser.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(nobody)))
    for call in CALLS.values():
        with superuser.transaction(force_rollback=True):
            superuser.execute(call.encode(), ids)


def test_a_writer_with_rights_on_hosts_as_well_can_call_those_about_hosts(
    owned_database: str, superuser: Conn, nobody: str
) -> None:
    by_migrate(owned_database)
    ids = populate(superuser)
    superuser.execute(
        sql.SQL(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON projects, worktrees, hosts, project_hosts TO {0}; SET ROLE {0}"
        ).format(sql.Identifier(nobody))
    )
    for call in HOSTS.values():
        with superuser.transaction(force_rollback=True):
            superuser.execute(call.encode(), ids)


def test_functions_give_nobody_a_right_he_has_not(owned_database: str, superuser: Conn, nobody: str) -> None:
    by_migrate(owned_database)
    ids = populate(superuser)

    superuser.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(nobody)))
    for name in CALLS.keys() - OPEN:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            superuser.execute(CALLS[name].encode(), ids)
    for call in HOSTS.values():
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            superuser.execute(call.encode(), ids)
    for call in OWNER.values():
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"permission denied for (function|procedure)"):
            superuser.execute(call.encode(), ids)
    for name in OPEN:
        superuser.execute(CALLS[name].encode(), ids)
    superuser.execute("RESET ROLE")
    assert superuser.execute("SELECT count(*) FROM deleted_worktrees").fetchone() == (1,), "its activity is there"


def test_nobody_can_hang_a_trigger_with_the_owners_rights_on_a_table_of_his_own(
    owned_database: str, superuser: Conn
) -> None:
    by_migrate(owned_database)
    found = superuser.execute(
        "SELECT proname, has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype AND prosecdef"
    ).fetchall()
    assert len(found) >= 19
    assert [name for name, is_open in found if is_open] == []


def test_settings_made_inside_a_function_end_with_it(owned_database: str) -> None:
    by_migrate(owned_database)
    with psycopg.connect(owned_database) as conn:
        populate(conn)
        conn.execute("SET LOCAL pg_trgm.word_similarity_threshold = 0.55")
        conn.execute("SET LOCAL search_path = pg_catalog, public")
        conn.execute("SELECT * FROM search_projects('nothing like it'), cleanup_old_activities(0)")
        shown = conn.execute(
            "SELECT current_setting('pg_trgm.word_similarity_threshold'), current_setting('search_path')"
        ).fetchone()
        assert shown == ("0.55", "pg_catalog, public")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="append-only"):
            conn.execute("DELETE FROM agent_activities")


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def database_of_another_encoding(request: pytest.FixtureRequest, admin_url: str) -> Iterator[str]:
    name = f"imi_{request.param.lower()}_{secrets.token_hex(6)}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        provider = "" if admin.info.server_version < 150000 else "LOCALE_PROVIDER libc"
        admin.execute(
            f"CREATE DATABASE {name} ENCODING {request.param} LOCALE 'C' {provider} TEMPLATE template0".encode()
        )
        yield url_of(admin_url, name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_database_that_is_not_utf8_is_refused_before_anything_is_created(database_of_another_encoding: str) -> None:
    before = catalogs(database_of_another_encoding)
    refused = r"has the encoding (SQL_ASCII|LATIN1); the registry needs UTF8"

    with psycopg.connect(database_of_another_encoding) as conn, pytest.raises(RegistryError, match=refused):
        migrate.apply(conn)
    done = psql(database_of_another_encoding, MIGRATIONS / NAMES[0])

    assert done.returncode != 0
    assert re.search(refused, done.stderr)
    assert catalogs(database_of_another_encoding) == before


def populate(conn: Conn) -> dict[str, UUID]:
    """A project, a worktree, one that was deleted and has an activity, and a type that no worktree has; the ids."""
    for statement in (
        "SELECT register_project('a', 'git@github.com:o/a.git', 'main', '/t')",
        "SELECT register_worktree(id, 'feat', 'w', 'w', '/w') FROM projects",
        "SELECT register_worktree(id, 'feat', 'gone', 'gone', '/gone') FROM projects",
        "SELECT log_activity('agent', id, 'other', 'words') FROM worktrees WHERE name = 'gone'",
        "DELETE FROM worktrees WHERE name = 'gone'",
        "SELECT add_worktree_type('spike')",
    ):
        conn.execute(statement.encode())
    project, worktree = conn.execute("SELECT p.id, w.id FROM projects p, worktrees w").fetchall()[0]
    return {"project": project, "worktree": worktree}


def functions_of_the_registry(conn: Conn) -> set[str]:
    """Names of the functions that are no triggers, no part of an event, and no rule about a value."""
    rows = conn.execute(
        "SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace"
        " AND p.prorettype <> 'trigger'::regtype AND p.proname !~ '^(outbox|require|refuse)_' AND p.provolatile <> 'i'"
        " AND NOT EXISTS (SELECT FROM pg_depend d"
        "   WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')"
    ).fetchall()
    return {name for (name,) in rows}
