"""A replica is its source, to the last row of every table, and nobody writes it but PostgreSQL."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.errors import ObjectNotInPrerequisiteState

from tests.support import histories
from tests.support.databases import name_of, plain_role, url_of
from tests.support.mirror.writes import WRITES
from tests.support.replica.commands import Commands
from tests.support.replica.judge import OWN, contents
from tests.support.replica.pairs import Pair, Sites

TOLD = r"read-only replica of headquarters; change it there, or run imi-registry replica promote"
CHANGES = (
    "SELECT use_host('laptop'), register_project('hosted', 'git@github.com:o/h.git', 'main', '/there')",
    "SELECT add_worktree_type('spike')",
    "UPDATE worktree_types SET description = 'Short' WHERE name = 'spike'",
    "SELECT update_worktree_git_state(id, p_uncommitted_count := 3, p_ahead := 2) FROM worktrees",
    "SELECT log_activity('a', id, 'other', 'one of many') FROM worktrees CROSS JOIN generate_series(1, 20)",
    "SELECT mark_worktree_merged(id, 'a', 'abc1234') FROM worktrees ORDER BY id LIMIT 1",
    "SELECT deactivate_project(id) FROM projects WHERE name <> 'hosted' ORDER BY id LIMIT 1",
    "UPDATE worktrees SET project_id = (SELECT id FROM projects WHERE name = 'hosted'), name = id::text WHERE active",
    "DELETE FROM projects WHERE id = (SELECT max(id::text)::uuid FROM projects WHERE name <> 'hosted')",
    "SELECT cleanup_old_activities(0)",
    "SELECT registry_heartbeat('service')",
    "SELECT apply_command(gen_random_uuid(), 'project.register',"
    ' \'{"name": "n", "remote_origin": "git@github.com:o/n.git"}\', \'\', gen_random_uuid())',
    "SELECT apply_command(gen_random_uuid(), 'worktree_type.remove', '{\"name\": \"x\"}', '', gen_random_uuid())",
)


def test_a_replica_is_its_source_to_the_last_row_and_its_counts_are_kept(registries: Pair, commands: Commands) -> None:
    histories.write(registries.source, 3, 3, 2)
    assert "CREATE PUBLICATION" in commands.source("publish").out
    done = commands.create()
    assert done.code == 0, done.err
    assert "all tables are copied" in done.out
    registries.assert_same()
    waits = "SELECT subsynccommit FROM pg_subscription WHERE subname = %s"
    assert registries.rows(registries.replica, waits, [registries.slot]) == [("on",)], "ADR 19"

    for change in CHANGES:
        registries.at_source(change)
        registries.assert_same()
    histories.write(registries.source, 2, 2, 1)
    registries.assert_same()
    stale = "SELECT count(*) FROM count_delta WHERE is_all_stale"
    assert registries.at_replica(stale) == [(0,)]

    registries.at_source("TRUNCATE projects CASCADE")
    histories.write(registries.source)
    registries.assert_same()
    assert registries.at_replica("SELECT * FROM differing_counts()") == []


def test_each_table_is_replicated_or_is_of_each_registry_itself(registries: Pair) -> None:
    replicated = {name for (name,) in registries.at_source("SELECT * FROM replica_tables()")}
    assert set(contents(registries.source)) == replicated
    assert not replicated & OWN
    without_key = registries.at_source(
        "SELECT t FROM replica_tables() t WHERE NOT EXISTS"
        " (SELECT FROM pg_index WHERE indrelid = ('public.' || t)::regclass AND indisprimary)"
    )
    assert without_key == [], "updates of such a table fail at the source once it is published"


def test_every_write_is_refused_with_the_name_of_the_source_and_nothing_changes(
    servers: Sites, following: Pair
) -> None:
    histories.write(following.source)
    following.assert_same()
    with plain_role(servers.replica.url, following.replica) as role:
        with psycopg.connect(following.replica, autocommit=True) as conn:
            for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
                conn.execute(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {role.name}".encode())
        with psycopg.connect(url_of(servers.replica.url, name_of(following.replica), role), autocommit=True) as conn:
            for statement in WRITES.values():
                with pytest.raises(ObjectNotInPrerequisiteState, match=TOLD):
                    conn.execute(statement.encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("SET session_replication_role = replica")
        with psycopg.connect(following.replica, autocommit=True) as conn:  # a superuser, by mistake
            for statement in (
                "UPDATE projects SET name = 'mine'",
                "INSERT INTO publisher_cursor (stream) VALUES ('s')",
            ):
                with pytest.raises(ObjectNotInPrerequisiteState, match=TOLD):
                    conn.execute(statement.encode())
        following.assert_same()


def test_a_replica_on_the_server_of_its_source_is_one_as_well(
    servers: Sites, registries: Pair, commands: Commands
) -> None:
    assert commands.source("publish").code == 0
    name = f"{name_of(registries.source)}_b"
    with psycopg.connect(servers.source.url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE registry_template".encode())
    beside = Pair(registries.source, url_of(servers.source.url, name), f"{registries.slot}_b")
    there = ["--database-url", beside.replica, "--source", beside.source]
    try:
        done = commands.cli("replica", "create", "beside", "--slot", beside.slot, *there)
        assert done.code == 0, done.err
        histories.write(beside.source)
        beside.assert_same()
        assert commands.cli("replica", "drop", "--yes", *there).code == 0
    finally:
        with psycopg.connect(servers.source.url, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
