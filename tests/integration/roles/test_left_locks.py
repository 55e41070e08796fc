"""Locks last as long as the transaction that took them: whoever may connect takes all he can, and stays.

PostgreSQL gives him some: it locks the tables of a statement before it asks for rights, when that is only prepared.
They keep off what changes a table itself, a migration and TRUNCATE, and nothing else, as long as nobody asks for such a
lock: who stands in front of others with that is told (tests/faults/service/test_in_front.py). What our own functions do
for everybody may leave none that keeps anybody off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.support.databases import name_of, plain_role, url_of
from tests.support.postgres.in_front import HOLDS, RULE, TRIGGER
from tests.support.roles.matrix import FUNCTIONS
from tests.support.world import World

WEAK = {"AccessShareLock", "RowShareLock", "RowExclusiveLock"}
"""What writers and VACUUM go on beside."""
PREPARED = ["SELECT FROM {}", "SELECT FROM {} FOR UPDATE", "DELETE FROM {}"]
WORK = [
    "SELECT register_project('c', 'git@github.com:o/c.git')",
    "UPDATE projects SET description = 'd'",
    "UPDATE worktrees SET agent_id = 'ada'",
    "DELETE FROM worktrees WHERE name = 'gone'",
    "SELECT prune_inactive_worktrees(0)",
    "SELECT cleanup_old_activities(0)",
    "SELECT maintenance_vacuum()",
    "SELECT merge_projects(a.id, b.id) FROM projects a, projects b WHERE (a.name, b.name) = ('a', 'b')",
    "CALL recount_registry()",
    "VACUUM (ANALYZE) projects, worktrees, agent_activities, deleted_worktrees, outbox",
]


@pytest.fixture
def stranger(world: World, admin_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody who may connect, in a transaction."""
    with plain_role(admin_url) as role:
        url = url_of(world.database, name_of(world.database), role)
        with psycopg.connect(url, application_name="imi-registry forged") as conn:
            yield conn
            conn.rollback()


def takes_all(stranger: psycopg.Connection[Any], tables: list[str], ids: dict[str, object]) -> None:
    """Let him do in one transaction whatever may leave a lock behind."""
    stranger.execute("SELECT pg_current_xact_id()")
    statements = [*FUNCTIONS.values(), "SELECT forget_deleted_worktrees('infinity')", "SELECT pg_advisory_lock(0)"]
    for number, table in enumerate(tables):
        for kind, statement in enumerate(PREPARED):
            prepared = sql.SQL("PREPARE p_{}_{} AS " + statement)  # type: ignore[arg-type]
            stranger.execute(prepared.format(sql.SQL(str(number)), sql.SQL(str(kind)), sql.Identifier("public", table)))
    for statement in statements:
        with suppress(psycopg.Error), stranger.transaction():
            stranger.execute(statement.encode(), ids)


async def test_a_stranger_who_keeps_every_lock_he_can_get_keeps_nobody_from_work(
    world: World, stranger: psycopg.Connection[Any]
) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("SET lock_timeout = '10s'")
        for name in "ab":
            conn.execute(f"SELECT register_project('{name}', 'git@github.com:o/{name}.git')".encode())
        (project,) = conn.execute("SELECT id FROM projects WHERE name = 'a'").fetchone() or (None,)
        for name in ("w", "gone", "before"):
            conn.execute("SELECT register_worktree(%s, 'feat', %s, 'b', %s)", [project, name, f"/{name}"])
        (worktree,) = conn.execute("DELETE FROM worktrees WHERE name = 'before' RETURNING id").fetchone() or (None,)
        tables = [
            str(name)
            for (name,) in conn.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            )
        ]

        takes_all(stranger, tables, {"project": project, "worktree": worktree})

        held = conn.execute(
            "SELECT DISTINCT mode FROM pg_locks WHERE pid = %s AND relation IS NOT NULL", [stranger.info.backend_pid]
        ).fetchall()
        assert {mode for (mode,) in held} == WEAK
        async with world.relay(), world.applier():
            for statement in WORK:
                conn.execute(statement.encode())
            conn.execute("CALL fold_counts()")
            assert conn.execute("SELECT count(*) FROM count_delta").fetchone() == (0,)
            await world.assert_exactly_once()
        stranger.execute("SELECT 1")


def test_who_may_not_use_the_schema_gets_no_lock_in_it(
    world: World, admin_url: str, stranger: psycopg.Connection[Any]
) -> None:
    with psycopg.connect(url_of(admin_url, name_of(world.database)), autocommit=True) as admin:
        admin.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    with psycopg.connect(world.database) as conn:
        conn.execute("LOCK TABLE projects")  # who asks for a lock waits, and gets none
        for statement in (HOLDS, RULE, TRIGGER):
            stranger.execute("SET lock_timeout = 1")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="schema public"):
                stranger.execute(statement.format("public.projects").encode())
            stranger.rollback()
        conn.execute("SELECT register_project('c', 'git@github.com:o/c.git')")


def test_no_function_takes_a_lock_that_anybody_may_hold(database: str) -> None:
    """An advisory lock is a number: to hold it takes no right."""
    with psycopg.connect(database) as conn:
        found = conn.execute(
            "SELECT proname FROM pg_proc"
            " WHERE pronamespace = 'public'::regnamespace AND prosrc ~ 'advisory_(xact_)?lock'"
        ).fetchall()
    assert found == []
