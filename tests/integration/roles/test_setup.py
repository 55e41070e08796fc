"""`imi-registry roles`: what is there, what is missing, and who may do it."""

from __future__ import annotations

import psycopg
import pytest

from registry.database import migrate, months
from registry.database.roles import ROLES, roles_of
from tests.support.commandline import CommandLine
from tests.support.databases import Role, name_of, new_database, plain_role, user_of
from tests.support.roles.cluster import as_login, connect, create_roles, login, migrated
from tests.support.schema.migrations import MIGRATIONS, NAMES, catalogs, migration, psql

NEXT = migrate.load()[-1].version + 1
REGISTER = b"SELECT register_project('p', 'git@github.com:o/p.git')"


def execute(url: str, statement: bytes) -> None:
    with connect(url) as conn:
        conn.execute(statement)


def statements(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.rstrip().endswith(";")]


def test_a_plain_owner_has_a_registry_and_is_told_the_sql_for_an_administrator(cluster: str, cli: CommandLine) -> None:
    with migrated(cluster) as (as_owner, as_superuser):
        execute(as_owner, REGISTER)

        shown = cli("roles", "show", "--database-url", as_owner)
        assert shown.code == 0
        assert [line.split()[0] for line in shown.out.splitlines() if "not there" in line][:5] == list(ROLES)
        done = cli("roles", "setup", "--database-url", as_owner)
        assert done.code == 1
        left = statements(done.err)
        assert done.err.splitlines()[0] == f"left for an administrator of the server, who runs ({len(left)}):"
        assert "nothing is left" not in done.out
        assert left[:5] == [f'CREATE ROLE "{name}" NOLOGIN;' for name in ROLES]

        with connect(as_superuser) as admin:
            for statement in left:
                admin.execute(statement.encode())
        assert cli("roles", "setup", "--database-url", as_owner).out == "nothing to do\n"
        assert cli("roles", "show", "--json", "--database-url", as_owner).json["to_do"] == []


def test_whoever_may_make_roles_has_them_with_the_migration(cluster: str) -> None:
    with plain_role(cluster) as owner:
        with connect(cluster) as admin:
            admin.execute(f'ALTER ROLE "{owner.name}" CREATEROLE'.encode())
        with new_database(cluster, owner) as url, psycopg.connect(url) as conn:
            migrate.apply(conn)
            found = roles_of(conn)
    assert all(role.exists and not role.can_login and role.members == [] for role in found.roles)
    assert found.missing == {}


def test_a_login_that_is_granted_a_role_can_do_its_work_and_after_that_no_more(cluster: str, cli: CommandLine) -> None:
    create_roles(cluster)
    with migrated(cluster) as (as_owner, as_superuser), login(cluster) as flume:
        url = as_login(as_owner, flume)
        assert cli("roles", "setup", "--database-url", as_owner).code == 0
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(url)

        granted = cli("roles", "grant", "writer", flume.name, "--database-url", as_superuser)
        assert granted.code == 0, granted.err
        with connect(url) as conn:
            conn.execute(REGISTER)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("SELECT FROM outbox")
        with connect(as_owner) as conn:
            assert {role.name: role.members for role in roles_of(conn).roles if role.members} == {
                "imi_writer": [flume.name]
            }

        assert cli("roles", "revoke", "imi_writer", flume.name, "--database-url", as_superuser).code == 0
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(url)


def test_what_cannot_be_granted_is_told_with_what_to_do(cluster: str, cli: CommandLine) -> None:
    with migrated(cluster) as (as_owner, as_superuser), login(cluster) as flume:
        refused = cli("roles", "grant", "writer", flume.name, "--database-url", as_owner)
        assert (refused.code, refused.err) == (
            1,
            "imi-registry: role imi_writer is not there; run: imi-registry roles setup\n",
        )
        assert cli("roles", "setup", "--database-url", as_superuser).code == 0
        refused = cli("roles", "grant", "writer", flume.name, "--database-url", as_owner)
        assert refused.code == 1
        assert f'GRANT "imi_writer" TO "{flume.name}"' in refused.err
        refused = cli("roles", "grant", "writer", "nobody at all", "--database-url", as_superuser)
        assert refused.code == 1
        assert 'there is no login "nobody at all"' in refused.err
        assert cli("roles", "grant", "king", flume.name, "--database-url", as_superuser).code == 2


def test_closing_a_database_keeps_out_nobody_who_has_rights_in_it(cluster: str, cli: CommandLine) -> None:
    with migrated(cluster) as (as_owner, _), login(cluster) as old, login(cluster) as stranger:
        with connect(as_owner) as conn:
            conn.execute(f'GRANT SELECT ON projects TO "{old.name}"'.encode())
        cli("roles", "setup", "--database-url", as_owner)

        execute(as_login(as_owner, old), b"SELECT FROM projects")
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(as_login(as_owner, stranger))
        with connect(as_owner) as conn:
            conn.execute(f'REVOKE ALL ON projects FROM "{old.name}"'.encode())
            conn.execute(f'REVOKE CONNECT ON DATABASE "{name_of(as_owner)}" FROM "{old.name}"'.encode())


def test_who_owns_the_registry_and_not_its_database_takes_snapshots_once_that_is_closed(
    cluster: str, cli: CommandLine
) -> None:
    create_roles(cluster)
    with migrated(cluster) as (as_owner, as_superuser), connect(as_superuser) as admin:
        admin.execute(f'ALTER DATABASE "{name_of(as_owner)}" OWNER TO "{user_of(as_superuser)}"'.encode())
        assert cli("roles", "setup", "--database-url", as_superuser).code == 0
        execute(as_owner, b"CREATE TEMPORARY TABLE new_projects ()")

        admin.execute(f'REVOKE TEMPORARY ON DATABASE "{name_of(as_owner)}" FROM "{user_of(as_owner)}"'.encode())
        left = cli("roles", "setup", "--database-url", as_owner)
        assert (left.code, len(statements(left.err))) == (1, 1)
        admin.execute(statements(left.err)[0].encode())
        execute(as_owner, b"CREATE TEMPORARY TABLE new_projects ()")


def test_members_of_one_registry_have_no_rights_in_another(cluster: str, cli: CommandLine) -> None:
    create_roles(cluster)
    with migrated(cluster) as (first, first_admin), login(cluster) as flume:
        cli("roles", "setup", "--database-url", first)
        assert cli("roles", "grant", "writer", flume.name, "--database-url", first_admin).code == 0
        with migrated(cluster) as (second, second_admin):
            with connect(as_login(second, flume)) as conn:
                for attack in ("SELECT FROM projects", "SELECT FROM outbox"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        conn.execute(attack.encode())
            assert cli("roles", "setup", "--database-url", second).code == 0
            with connect(second) as conn:
                assert roles_of(conn).missing == {}
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                connect(as_login(second, flume))

            with connect(first_admin) as admin:
                admin.execute(f'GRANT CONNECT ON DATABASE "{name_of(first)}" TO PUBLIC'.encode())
            refused = cli("roles", "grant", "reader", flume.name, "--database-url", second_admin)
            assert refused.code == 1
            assert f"imi_reader has rights in database {name_of(first)}, too" in refused.err
            with connect(first_admin) as admin:
                admin.execute(f'REVOKE CONNECT ON DATABASE "{name_of(first)}" FROM PUBLIC'.encode())
                admin.execute(f'REVOKE CONNECT ON DATABASE "{name_of(first)}" FROM "{flume.name}"'.encode())


@pytest.mark.parametrize("kept", ["in one table", "by month", "on its way into months"])
def test_what_is_handed_over_belongs_to_nobody_who_can_log_in_and_goes_on(
    cluster: str, cli: CommandLine, kept: str
) -> None:
    with migrated(cluster) as (as_owner, as_superuser):
        if kept == "by month":
            with connect(as_owner) as conn:
                months.move(conn, by_month=True)
        elif kept == "on its way into months":
            execute(as_owner, b"SELECT begin_activity_move(true)")
        done = cli("roles", "setup", "--hand-over", "--database-url", as_superuser)
        assert done.code == 0, done.err
        first, *told, last = done.out.splitlines()
        assert first == f"done, nobody has to run this again ({len(told)}):"
        assert all(line.startswith("  ") and line.endswith(";") for line in told)
        assert last == "nothing is left to do"

        with psycopg.connect(as_owner) as conn:
            later = migration(NEXT, "CREATE TABLE IF NOT EXISTS later (a integer);")
            assert migrate.apply(conn, migrations=[*migrate.load(), later]) == [later.name]
            conn.execute(REGISTER)
            conn.execute("SELECT FROM v_recent_agent_activity")
            conn.execute("SELECT cleanup_old_activities(1)")
        with connect(as_superuser) as admin:
            owners = admin.execute(
                "SELECT DISTINCT relowner::regrole::text FROM pg_class"
                " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S', 'c', 'i', 'I')"
                " UNION SELECT proowner::regrole::text FROM pg_proc p WHERE pronamespace = 'public'::regnamespace"
                " AND NOT EXISTS (SELECT FROM pg_depend d"
                " WHERE (d.classid, d.objid) = ('pg_proc'::regclass, p.oid) AND d.deptype = 'e')"
                " UNION SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()"
            ).fetchall()
            assert owners == [("imi_owner",)]
            applied = admin.execute("SELECT DISTINCT applied_by FROM schema_migrations WHERE version = %s", [NEXT])
            assert applied.fetchone() == (user_of(as_owner),)
            admin.execute("DROP TABLE later")
            admin.execute("DELETE FROM schema_migrations WHERE version = %s", [NEXT])
        with psycopg.connect(as_owner) as conn:
            migrate.rollback(conn)
        with connect(as_superuser) as admin:
            admin.execute(f'ALTER DATABASE "{name_of(as_owner)}" OWNER TO "{user_of(as_owner)}"'.encode())


def test_rights_are_what_the_list_says_whatever_somebody_gave(cluster: str) -> None:
    create_roles(cluster)
    with migrated(cluster) as (as_owner, _), connect(as_owner) as conn:
        conn.execute("GRANT INSERT ON outbox TO imi_writer")
        conn.execute("GRANT UPDATE (data) ON outbox TO imi_reader")
        conn.execute("REVOKE ALL ON projects FROM imi_writer")
        assert roles_of(conn).missing == {
            "imi_writer": [f"{right} ON projects" for right in ("DELETE", "INSERT", "SELECT", "UPDATE")]
        }

        conn.execute("SELECT grant_role_rights()")

        assert roles_of(conn).missing == {}
        assert conn.execute(
            "SELECT has_any_column_privilege('imi_writer', 'outbox', 'INSERT'),"
            " has_any_column_privilege('imi_reader', 'outbox', 'UPDATE')"
        ).fetchone() == (False, False)


def test_files_run_by_psql_give_the_rights_too_and_the_way_back_takes_all(cluster: str) -> None:
    create_roles(cluster)
    with plain_role(cluster) as owner, new_database(cluster, owner) as url:
        before = catalogs(url)
        for _ in range(2):
            for name in NAMES:
                done = psql(url, MIGRATIONS / name)
                assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        with connect(url) as conn:
            assert conn.execute("SELECT has_table_privilege('imi_writer', 'projects', 'INSERT')").fetchone() == (True,)
        assert psql(url, MIGRATIONS / migrate.ROLLBACK).returncode == 0
        assert catalogs(url) == before


def test_a_superuser_who_migrates_makes_what_is_new_the_owners(cluster: str) -> None:
    later = migration(NEXT, "CREATE TABLE IF NOT EXISTS later (a integer);")
    with migrated(cluster) as (as_owner, as_superuser):
        with psycopg.connect(as_superuser) as conn:
            migrate.apply(conn, migrations=[*migrate.load(), later])
            assert conn.execute("SELECT current_user").fetchone() == (user_of(as_superuser),)
        with connect(as_owner) as conn:
            conn.execute("DROP TABLE later")


def test_whoever_migrates_as_a_member_of_the_owner_creates_the_registry_for_it(cluster: str) -> None:
    create_roles(cluster)
    with (
        login(cluster, "imi_owner") as deploy,
        new_database(cluster, Role("imi_owner", "")) as url,
        psycopg.connect(as_login(url, deploy)) as conn,
    ):
        migrate.apply(conn)
        assert roles_of(conn).database.owner == "imi_owner"
