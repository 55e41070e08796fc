"""Rows that are older than the outbox get their events: each one, once, in order, whatever goes on meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from publisher.doctor import examine
from publisher.history.verification import verify
from publisher.outbox.connection import connect
from publisher.outbox.record import every_row
from registry.database import migrate
from registry.database.backfill import backfill
from registry.errors import Conflict
from registry.events import parse
from registry.profiles.imi import ImiProfile
from registry.subjects import DEFAULT_SOURCE
from tests.support.histories import export, import_
from tests.support.outbox_reader import Event, events_behind
from tests.support.services import wait_until
from tests.support.world import World

Conn = psycopg.Connection[Any]

# What a registry without an outbox can hold: a type of its own, a built-in one with another colour, an inactive project
# that is the oldest, worktrees of every state, activities of one that is there and of one that is deleted.
USED = """
INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('spike', 'spike/', 'spike-');
UPDATE worktree_types SET color = '#123456' WHERE name = 'fix';
SELECT register_project('a', 'git@github.com:owner/a.git');
INSERT INTO projects (name, remote_origin, trunk_path, active, created_at)
VALUES ('old', 'git@github.com:owner/old.git', '/old/trunk-main', false, '2020-01-01');
SELECT register_worktree(id, 'spike', 'claimed', 'spike/a', '/a/claimed', 'agent-1') FROM projects WHERE name = 'a';
SELECT register_worktree(id, 'fix', 'merged', 'fix/a', '/a/merged') FROM projects WHERE name = 'a';
SELECT register_worktree(id, 'fix', 'gone', 'fix/b', '/a/gone') FROM projects WHERE name = 'a';
SELECT mark_worktree_merged(id, 'ann', 'abc') FROM worktrees WHERE name = 'merged';
SELECT log_activity('agent-1', id, 'created', 'of ' || name, NULL, '{"big": 12345678901234567890.10}')
FROM worktrees WHERE name <> 'merged' ORDER BY name;
DELETE FROM worktrees WHERE name = 'gone';
"""
EVENTS = "SELECT id FROM outbox WHERE id > %(after)s ORDER BY id LIMIT %(limit)s"
TOLD = [
    *["worktree_type.added"] * 7,
    *["project.registered"] * 2,
    *["worktree.created"] * 2,
    *["activity.logged"] * 2,
]


@pytest.fixture
def used(empty_database: str) -> str:
    """URL of a registry that was in use before the outbox was there; the events of its rows wait."""
    with psycopg.connect(empty_database, autocommit=True) as conn:
        migrate.apply(conn, migrations=migrate.load()[:2])
        conn.execute(USED)
        migrate.apply(conn)
    return empty_database


@pytest.fixture
def db(used: str) -> Iterator[Conn]:
    with psycopg.connect(used, autocommit=True) as conn:
        yield conn


def blocked(writer: Conn) -> bool:
    """Whether somebody waits for what `writer` holds."""
    (is_waiting,) = writer.execute(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
    ).fetchone() or (False,)
    return bool(is_waiting)


def names(found: list[Event]) -> list[str]:
    return [event.name for event in found]


def take(conn: Conn, limit: int) -> int:
    (taken,) = conn.execute("SELECT backfill_outbox(%s)", [limit]).fetchone() or (0,)
    return int(taken)


def test_each_row_is_told_once_in_order_marked_and_as_it_is(db: Conn) -> None:
    told: list[tuple[int, int]] = []
    assert events_behind(db) == []
    assert backfill(db, lambda done, total: told.append((done, total)), batch_rows=5) == len(TOLD)
    assert told == [(5, 13), (10, 13), (13, 13)]
    assert backfill(db) == 0

    found = events_behind(db)
    assert names(found) == TOLD
    assert [event.data["name"] for event in found[7:9]] == ["old", "a"]
    assert sorted(event.data["worktree_name"] for event in found[11:]) == ["claimed", "gone"]
    assert all(event.data["backfill"] is True and event.changed == {} for event in found)
    project = db.execute("SELECT id FROM projects WHERE name = 'a'").fetchone() or ("",)
    assert {event.project_id for event in found[9:]} == {project[0]}
    claimed, merged = sorted((event.data for event in found[9:11]), key=lambda data: str(data["name"]))
    assert (claimed["agent_id"], claimed["active"], claimed["type"]) == ("agent-1", True, "spike")
    assert (merged["merged_by"], merged["active"], merged["type"]) == ("ann", False, "fix")


def test_a_new_registry_has_no_backlog(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        assert backfill(conn) == 0
        assert events_behind(conn) == []


def test_migrations_run_again_put_nothing_down(db: Conn) -> None:
    backfill(db)
    db.execute("SELECT register_project('new', 'git@github.com:owner/new.git')")
    db.execute(migrate.load()[2].sql.encode())
    assert backfill(db) == 0


def test_four_at_once_tell_each_row_once_in_order(used: str, db: Conn) -> None:
    def all_of_it(_: int) -> int:
        with psycopg.connect(used, autocommit=True) as conn:
            return backfill(conn, batch_rows=2)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(all_of_it, range(4))) == len(TOLD)
    assert names(events_behind(db)) == TOLD


def test_what_was_cut_off_is_told_by_the_next_run(db: Conn) -> None:
    take(db, 4)
    with db.transaction(force_rollback=True):
        take(db, 4)
    assert names(events_behind(db)) == TOLD[:4]
    backfill(db)
    assert names(events_behind(db)) == TOLD


def test_a_row_that_is_being_changed_is_told_behind_its_change_and_after_it(used: str, db: Conn) -> None:
    """A reader that takes the last event of a row has the row."""
    take(db, 7)
    with psycopg.connect(used) as writer, ThreadPoolExecutor(1) as pool:
        writer.execute("UPDATE projects SET description = 'changed' WHERE name = 'old'")
        running = pool.submit(take, db, 100)
        wait_until(lambda: blocked(writer))
        writer.commit()
        assert running.result(timeout=20) == 6
    found = [event for event in events_behind(db) if event.data.get("name") == "old"]
    assert names(found) == ["project.updated", "project.registered"]
    assert found[-1].data["description"] == "changed"


def test_nobody_is_waited_for_while_rows_are_locked(used: str, db: Conn) -> None:
    """A writer of two rows of one batch would otherwise be a deadlock."""
    db.execute("SET lock_timeout = '2s'")
    take(db, 7)
    with psycopg.connect(used) as writer:
        writer.execute("UPDATE projects SET description = 'changed' WHERE name = 'a'")
        with db.transaction():
            assert take(db, 100) == 1, "the project before it"
            assert db.execute("SELECT data ->> 'name' FROM outbox ORDER BY id DESC").fetchone() == ("old",)
        writer.execute("UPDATE projects SET description = 'changed' WHERE name = 'old'")
    backfill(db)
    assert [event.name for event in events_behind(db) if "backfill" in event.data] == TOLD


def test_writers_are_not_held_up_by_what_waits_for_its_turn(used: str, db: Conn) -> None:
    with psycopg.connect(used) as other, db.transaction():
        take(db, 1)
        other.execute("SET lock_timeout = '1s'")
        other.execute("UPDATE projects SET description = 'at once'")
        other.execute("SELECT log_activity('a', id, 'modified', 'at once') FROM worktrees WHERE active")


def test_a_row_that_is_deleted_before_its_turn_is_told_by_its_end_alone(db: Conn) -> None:
    db.execute("DELETE FROM projects WHERE name = 'old'")
    assert backfill(db) == len(TOLD)
    assert [event.name for event in events_behind(db) if event.data.get("name") == "old"] == ["project.deleted"]


@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
def test_a_row_committed_while_the_outbox_was_created_is_told(empty_database: str, isolation: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as conn, psycopg.connect(empty_database) as writer:
        conn.execute("SELECT set_config('default_transaction_isolation', %s, false)", [isolation])
        migrate.apply(conn, migrations=migrate.load()[:2])
        conn.execute(USED)
        writer.execute("SELECT register_project('late', 'git@github.com:owner/late.git')")
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(migrate.apply, conn)
            wait_until(lambda: blocked(writer))
            writer.commit()
            running.result(timeout=20)
        backfill(conn)
        assert "late" in [event.data.get("name") for event in events_behind(conn)]


async def test_every_event_is_one_of_the_contract(db: Conn, used: str) -> None:
    backfill(db)
    profile = ImiProfile("imi", DEFAULT_SOURCE)
    async with connect(used, "test") as conn, conn.transaction():
        found = [parse(profile.encode(row, 2**62).payload) async for row in every_row(conn, EVENTS, {})]
    assert [getattr(event.data, "backfill", None) for event in found] == [True] * len(TOLD)


async def test_what_waits_is_told_by_doctor_and_verify_and_not_exported(
    world: World, used: str, tmp_path: Path
) -> None:
    elsewhere = world.at(database=used)
    told = "13 rows are older than the outbox and have no event yet; run: imi-registry migrate up"

    assert told in [finding.text for finding in await examine(elsewhere.settings()) if not finding.is_well]
    assert (await verify(elsewhere.settings())).differences[0] == told
    with pytest.raises(Conflict, match="cannot export: 13 rows are older"):
        await export(elsewhere, tmp_path / "x")
    assert not (tmp_path / "x").exists()


async def test_afterwards_the_events_tell_all_and_an_import_is_the_same_registry(
    world: World, used: str, db: Conn, tmp_path: Path
) -> None:
    elsewhere = world.at(database=used)
    backfill(db)
    verified = await verify(elsewhere.settings())
    assert (verified.differences, verified.unknown) == ([], 0)

    await export(elsewhere, tmp_path / "x")
    await import_(world, tmp_path / "x")
    for table in ("projects", "worktrees", "worktree_types", "agent_activities"):
        query = f"SELECT to_jsonb(t) FROM {table} AS t ORDER BY id"  # noqa: S608  # names of this test
        assert world.rows(query) == elsewhere.rows(query)
    assert (await verify(world.settings())).differences == []
