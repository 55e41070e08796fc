"""A database with the schema 2.0.0 as it was first shipped becomes one of ours, with all its rows and events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from publisher.history.verification import verify
from registry.database import migrate
from registry.database.backfill import backfill
from tests.support.before.adopted import all_rows, assert_as_new, changed
from tests.support.before.original import id_of
from tests.support.commandline import CommandLine
from tests.support.databases import Role
from tests.support.histories import export, import_
from tests.support.schema.migrations import NAMES, catalogs
from tests.support.world import World

Conn = psycopg.Connection[Any]


def test_the_upgraded_schema_is_that_of_a_new_database(
    db: Conn, empty_database: str, admin_url: str, owner: Role
) -> None:
    assert migrate.apply(db) == NAMES
    assert_as_new(db, empty_database, admin_url, owner)
    migrate.check(db)
    assert migrate.apply(db) == []


def test_each_row_is_what_it_was_but_for_what_the_dry_run_told(db: Conn) -> None:
    before = all_rows(db)
    plan = migrate.plan(db)
    assert plan.decisions == []
    assert migrate.upgrade(db) == (NAMES, plan)
    assert all_rows(db) == changed(before, plan)


def test_the_functions_and_views_of_the_original_are_told_before_they_are_replaced(db: Conn, cli: CommandLine) -> None:
    by_hand = "CREATE OR REPLACE FUNCTION sync_uncommitted_changes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'"
    db.execute(by_hand.encode())
    told = migrate.plan(db).replaced
    assert {"function register_project", "view v_inflight_work", "function sync_uncommitted_changes"} <= set(told)
    dry = cli("migrate", "up", "--dry-run").out
    assert [line for line in dry.splitlines() if line.startswith("would replace ")] == [
        f"would replace {one}, which is not that of the migrations" for one in told
    ]
    assert "pg_dump --schema-only before keeps it" in dry
    assert cli("migrate", "up", "--json").json["replaced"] == told


def test_what_is_told_is_what_had_to_change(db: Conn) -> None:
    told = {
        (change.table, change.id[-3:], change.field): (change.old, change.new) for change in migrate.plan(db).changes
    }
    assert told["projects", "001", "remote_origin"] == (
        "git@github.com:Owner/iMi.git",
        "git@github.com:owner/imi.git",
    )
    assert told["projects", "001", "metadata"] == ([1, "two"], {"value": [1, "two"]})
    assert told["worktrees", "011", "merged_at"][1] is None
    assert told["worktrees", "012", "behind_trunk"] == (None, 0)
    assert told["worktrees", "013", "uncommitted_files_count"] == (0, 1)
    assert told["worktrees", "014", "has_uncommitted_changes"] == (False, True)
    assert told["worktrees", "015", "active"] == (True, False)
    assert len(told) == 24


def test_a_dry_run_changes_nothing_and_waits_for_nobody(db: Conn, empty_database: str) -> None:
    before, rows = catalogs(empty_database), all_rows(db)
    with psycopg.connect(empty_database) as writer:
        writer.execute("UPDATE projects SET name = 'not yet'")
        db.execute("SET lock_timeout = '1s'")
        assert migrate.plan(db).changes
        writer.rollback()
    assert catalogs(empty_database) == before
    assert all_rows(db) == rows


def test_clients_go_on_with_what_they_know(db: Conn) -> None:
    migrate.apply(db)
    (project,) = db.execute("SELECT register_project('x', 'https://github.com/Owner/iMi')").fetchone() or ("",)
    assert str(project) == id_of(1)
    db.execute("DELETE FROM worktrees WHERE id = %s", [id_of(11)])
    assert db.execute("SELECT worktree_name FROM v_recent_agent_activity WHERE id = %s", [id_of(101)]).fetchall() == [
        ("again",)
    ]
    (new_type,) = db.execute("SELECT id FROM add_worktree_type('new', 'new/', 'new-') AS id").fetchone() or (0,)
    assert db.execute("SELECT id FROM worktree_types WHERE name = 'new'").fetchone() == (8,), new_type


def test_a_type_that_has_the_last_id_there_is_keeps_it(db: Conn) -> None:
    db.execute("UPDATE worktrees SET type_id = 1; DELETE FROM worktree_types WHERE name = 'spike'")
    db.execute(
        "INSERT INTO worktree_types (id, name, branch_prefix, worktree_prefix) VALUES (2147483647, 'z', 'z/', 'z-')"
    )
    migrate.apply(db)
    assert db.execute("SELECT id FROM worktree_types WHERE name = 'z'").fetchall() == [(2147483647,)]
    assert db.execute("SELECT add_worktree_type('new', 'new/', 'new-')").fetchone() == (8,)


HOSTILE = {
    "search_path": "pg_temp",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "datestyle": "German",
    "timezone": "Pacific/Chatham",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "transform_null_equals": "on",
    "array_nulls": "off",
}


def test_settings_of_the_session_change_nothing_of_it(db: Conn, more: Callable[[str], None]) -> None:
    more("duplicates")
    more("identity")
    db.execute("UPDATE identities SET project_id = %s", [id_of(1)])
    plain = migrate.plan(db, merge_duplicates=True)
    rows = changed(all_rows(db), plain)
    for name, value in HOSTILE.items():
        db.execute("SELECT set_config(%s, %s, false)", [name, value])

    assert migrate.plan(db).decisions != []
    assert migrate.upgrade(db, merge_duplicates=True) == (NAMES, plain)

    db.execute("RESET ALL")
    assert all_rows(db) == rows


async def test_the_events_then_tell_all_and_an_import_is_the_same_registry(
    world: World, db: Conn, empty_database: str, tmp_path: Path, more: Callable[[str], None]
) -> None:
    more("duplicates")
    migrate.upgrade(db, merge_duplicates=True)
    assert backfill(db) == len(all_rows(db))
    upgraded = world.at(database=empty_database)
    assert (await verify(upgraded.settings())).differences == []

    await export(upgraded, tmp_path / "x")
    await import_(world, tmp_path / "x")
    with psycopg.connect(world.database) as new:
        assert all_rows(new) == all_rows(db)


async def test_the_events_of_an_upgraded_registry_are_published(world: World, db: Conn, empty_database: str) -> None:
    migrate.apply(db)
    backfill(db)
    upgraded = world.at(database=empty_database)
    async with upgraded.relay():
        await upgraded.assert_exactly_once(at_least=len(all_rows(db)))


def test_the_command_line_lists_refuses_and_upgrades(cli: CommandLine, db: Conn, more: Callable[[str], None]) -> None:
    more("duplicates")
    listed = cli("migrate", "up", "--dry-run", "--json")
    assert listed.code == 1
    assert '"decisions": [{"table": "projects"' in listed.out
    text = cli("migrate", "up", "--dry-run")
    assert text.code == 1
    assert "the original schema 2.0.0; 26 values change:" in text.out
    assert "to decide: projects 00000000-0000-0000-0000-000000000004 (lower)" in text.out
    refused = cli("migrate", "up")
    assert refused.code == 1
    assert "--merge-duplicates" in refused.err

    dry = cli("migrate", "up", "--merge-duplicates", "--dry-run", "--json").json
    assert (dry["pending"], dry["applied"], dry["decisions"]) == (NAMES, [], [])
    done = cli("migrate", "up", "--merge-duplicates")
    assert (done.code, done.err) == (0, "")
    assert f"applied {NAMES[-1]}\nwrote the events of 20 rows that are older than the outbox\n" in done.out
    assert cli("migrate", "up").out == "nothing to apply\n"
