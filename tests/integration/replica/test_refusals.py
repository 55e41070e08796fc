"""What keeps a replica from being made is told before anything is done, with what to do; nothing is left behind."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from registry.database import months
from tests.support import histories
from tests.support.commandline import CommandLine
from tests.support.databases import Role, name_of, url_of
from tests.support.replica.commands import Commands
from tests.support.replica.pairs import Pair, Sites

SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"


def as_login(servers: Sites, registries: Pair, login: Role) -> str:
    return url_of(servers.source.url, name_of(registries.source), login)


def refused(registries: Pair, commands: Commands, *arguments: str, source: str | None = None, code: int = 1) -> str:
    """What `create` says; everything is as it was before."""
    before = registries.at_source(SLOTS)
    done = commands.create(*arguments, source=source)
    assert done.code == code, (done.code, done.err)
    assert registries.at_source(SLOTS) == before
    assert registries.at_replica("SELECT FROM replica_source") == []
    assert registries.at_replica("SELECT count(*) > 0 FROM worktree_types") == [(True,)]
    assert registries.at_replica("SELECT FROM pg_trigger WHERE tgname = 'mirror_refuses'") == []
    return done.err


def test_a_server_without_logical_wal_is_told_which_setting_it_needs(database: str, cli: CommandLine) -> None:
    with psycopg.connect(database) as conn:
        (level,) = conn.execute("SHOW wal_level").fetchone() or ("",)
    if level == "logical":
        pytest.skip("this server has logical WAL")
    done = cli("replica", "publish", "--database-url", database)
    assert done.code == 1
    assert f"wal_level of the source is {level}" in done.err
    assert "ALTER SYSTEM SET wal_level = logical, then restart PostgreSQL" in done.err


def test_what_is_missing_at_the_source_is_told(registries: Pair, commands: Commands) -> None:
    assert "publication imi_registry of the source is not there" in refused(registries, commands)
    assert commands.source("publish").code == 0
    registries.at_source("ALTER PUBLICATION imi_registry DROP TABLE outbox")
    assert "lacks outbox: imi-registry replica publish there" in refused(registries, commands)
    assert "SET TABLE" in commands.source("publish").out
    assert "has all tables" in commands.source("publish").out

    registries.at_source("UPDATE registry_metadata SET migration = migration - 1")
    assert "bring both to the same with imi-registry migrate" in refused(registries, commands)
    registries.at_source("UPDATE registry_metadata SET migration = migration + 1")

    registries.at_source(f"SELECT pg_create_logical_replication_slot('{registries.slot}', 'pgoutput')")
    told = refused(registries, commands)
    assert f"imi-registry replica drop --slot {registries.slot}" in told
    assert commands.source("drop", "--slot", registries.slot, "--yes").code == 0
    assert commands.source("drop", "--slot", registries.slot, "--yes").code == 1

    told = refused(registries, commands, source="postgresql://nobody@127.0.0.1:1/nothing", code=3)
    assert "connection" in told
    assert "--slot" in refused(registries, commands, "--slot", "No Slot", code=2)


def test_a_log_that_is_kept_by_month_is_told(registries: Pair, commands: Commands) -> None:
    registries.at_source("ALTER TABLE agent_activities RENAME TO whole")
    registries.at_source("CREATE TABLE agent_activities (LIKE whole) PARTITION BY RANGE (created_at)")
    done = commands.source("publish")
    assert done.code == 1
    assert "keeps agent_activities by month" in done.err


def test_a_log_that_is_kept_by_month_here_is_told_too(registries: Pair, commands: Commands) -> None:
    assert commands.source("publish").code == 0
    with psycopg.connect(registries.replica, autocommit=True) as conn:
        conn.execute("SELECT begin_activity_move(true)")
        assert "is being moved into months: imi-registry months cancel" in refused(
            registries, commands, "--replace", "--yes"
        )
        months.move(conn, by_month=True)
        assert "keeps agent_activities by month" in (told := refused(registries, commands, "--replace", "--yes"))
        assert told.endswith("imi-registry months off\n")
        months.move(conn, by_month=False)
    done = commands.create()
    assert done.code == 0, done.err


def test_a_copy_of_a_registry_is_no_source(registries: Pair, commands: Commands) -> None:
    assert commands.source("publish").code == 0
    registries.at_source("SELECT begin_mirror('elsewhere', 's')")
    assert "read-only mirror of elsewhere: take that one as the source" in refused(registries, commands)


def test_a_registry_with_rows_becomes_no_replica_unless_they_may_go(registries: Pair, commands: Commands) -> None:
    assert commands.source("publish").code == 0
    histories.write(registries.source)
    histories.write(registries.replica)
    assert "has projects or a history of its own" in refused(registries, commands)
    assert "give up all rows" in refused(registries, commands, "--replace")
    done = commands.create("--replace", "--yes")
    assert done.code == 0, done.err
    registries.assert_same()
    assert "is a replica already, of headquarters" in commands.create("--slot", "another", "--replace", "--yes").err


def test_a_replica_that_follows_becomes_no_mirror(following: Pair, cli: CommandLine) -> None:
    done = cli("mirror", "setup", "elsewhere", "--replace", "--yes", "--database-url", following.replica)
    assert done.code == 1
    assert done.err == (
        "imi-registry: this registry is a replica of headquarters and follows it: imi-registry replica drop\n"
    )
    with pytest.raises(
        psycopg.errors.ObjectNotInPrerequisiteState, match="is a replica of headquarters and follows it"
    ):
        following.at_replica("SELECT begin_mirror('elsewhere', 's', true)")
    histories.write(following.source)
    following.assert_same()


def test_a_login_needs_no_more_than_it_is_given(
    servers: Sites, registries: Pair, commands: Commands, login: Role
) -> None:
    there = as_login(servers, registries, login)
    assert commands.source("publish").code == 0
    assert "permission denied" in refused(registries, commands, source=there)
    registries.at_source(f"ALTER ROLE {login.name} NOREPLICATION")
    told = commands.source("publish", "--login", login.name)
    assert (told.code, f'ALTER ROLE "{login.name}" REPLICATION' in told.err) == (1, True)
    assert 'CREATE ROLE "nobody" LOGIN REPLICATION' in commands.source("publish", "--login", "nobody").err
    registries.at_source(f"ALTER ROLE {login.name} REPLICATION")
    assert commands.source("publish", "--login", login.name).code == 0

    histories.write(registries.source)
    done = commands.create(source=there)
    assert done.code == 0, done.err
    registries.assert_same()
    with psycopg.connect(there, autocommit=True) as conn:
        for statement in (
            "DELETE FROM projects",
            "INSERT INTO outbox (entity, action, data) VALUES ('a', 'b', '{}')",
            "SELECT * FROM count_delta",
            "SELECT nextval('outbox_id_seq')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement.encode())
    assert conninfo_to_dict(there)["user"] == login.name
    assert commands.replica("drop", "--yes", source=there).code == 0


def test_who_may_make_no_subscription_is_told_so(
    servers: Sites, registries: Pair, commands: Commands, cli: CommandLine
) -> None:
    assert commands.source("publish").code == 0
    with psycopg.connect(servers.replica.url, autocommit=True) as admin:
        name = f"plain_{registries.slot}"
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'".encode())
        try:
            here = url_of(servers.replica.url, name_of(registries.replica), Role(name, "x"))
            registries.at_replica(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
            done = cli("replica", "create", "h", "--source", registries.source, "--database-url", here)
            assert done.code == 1
            assert "pg_create_subscription" in done.err
            assert registries.at_source(SLOTS) == []
        finally:
            registries.at_replica(f"DROP OWNED BY {name}")
            admin.execute(f"DROP ROLE {name}".encode())


def test_what_is_no_replica_says_so(registries: Pair, commands: Commands) -> None:
    for name in ("status", "promote", "drop"):
        done = commands.replica(name, *([] if name == "status" else ["--yes"]))
        assert done.code == 1
        assert "this registry is no replica" in done.err
