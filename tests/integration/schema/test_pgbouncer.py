"""`Registry` through PgBouncer in transaction mode: each transaction may run in another server session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from registry.database import Registry
from registry.database.connecting.look import LOOKER
from tests.support import pgbouncer

pytestmark = pytest.mark.skipif(
    pgbouncer.BINARY is None, reason="needs PgBouncer: apt-get install -y --no-install-recommends pgbouncer"
)

PATIENCE_SECONDS = 60
CLIENTS = 12
WRITES = 8


@pytest.fixture
def pooled(database: str) -> Iterator[str]:
    with pgbouncer.pgbouncer(database) as url:
        yield url


async def write(registry: Registry, client: int) -> None:
    """Some of everything that a component does, as an actor of its own."""
    acting = registry.acting(actor=f"agent-{client}")
    project_id = await acting.register_project("engine", "git@github.com:ada/engine.git")
    for number in range(WRITES):
        name = f"feat-{client}-{number}"
        worktree_id = await acting.register_worktree(project_id, "feat", name, f"feat/{name}", f"/code/engine/{name}")
        await acting.update_worktree_git_state(worktree_id, uncommitted_count=number, ahead=1)
        assert any(work.worktree_id == worktree_id for work in await registry.get_inflight_work(project_id))
    await registry.register_project(f"own-{client}", f"git@github.com:ada/own-{client}.git")


async def test_many_clients_share_few_server_sessions(pooled: str, database: str) -> None:
    # when more clients than server sessions write at once, on several connections each
    async with Registry.connect(pooled, max_connections=4) as one, Registry.connect(pooled, max_connections=4) as two:
        async with asyncio.TaskGroup() as tasks:
            for client in range(CLIENTS):
                tasks.create_task(write(one if client % 2 else two, client))
        stats = await one.get_registry_stats()
    # then everything was written
    assert (stats.total_projects, stats.total_worktrees) == (1 + CLIENTS, CLIENTS * WRITES)
    with psycopg.connect(database) as conn:
        # then each event has the actor of its own write: none was left behind in the session for another client
        wrong = conn.execute(
            "SELECT data ->> 'name', actor FROM outbox"
            " WHERE actor IS DISTINCT FROM CASE WHEN data ->> 'name' LIKE 'own-%'"
            " THEN NULL ELSE 'agent-' || split_part(data ->> 'name', '-', 2) END AND data ->> 'name' <> 'engine'"
        ).fetchall()
        assert wrong == []


async def test_nothing_is_left_behind_in_a_server_session(pooled: str) -> None:
    async with Registry.connect(pooled, max_connections=1) as registry:
        # when a statement is repeated more often than psycopg waits before it prepares
        for _ in range(10):
            await registry.acting(actor="ada").register_project("engine", "git@github.com:ada/engine.git")
    # then
    with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as conn:
        for _ in range(2 * pgbouncer.SERVER_CONNECTIONS):
            assert conn.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
            assert conn.execute("SELECT coalesce(current_setting('imi.actor', true), '')").fetchone() == ("",)


async def test_who_waits_for_a_lock_leaves_nothing_behind_either(pooled: str, database: str) -> None:
    looked = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
        " AND state = 'idle' AND query = 'SELECT pg_backend_pid()'"
    )
    async with Registry.connect(pooled, max_connections=1) as registry:
        with psycopg.connect(database) as holder, psycopg.connect(database, autocommit=True) as observer:
            holder.execute("LOCK TABLE projects")
            waiting = asyncio.create_task(registry.register_project("engine", "git@github.com:ada/engine.git"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while observer.execute(looked, [LOOKER]).fetchone() is None:
                    await asyncio.sleep(0.02)
            holder.rollback()
            await waiting
    assert pgbouncer.left_behind(pooled) == []
