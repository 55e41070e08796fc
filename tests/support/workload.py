"""Concurrent writers that do real registry work on a few shared rows, with everything that makes ids disorderly.

Rollbacks, savepoints, transactions held open, lock waits, statements with many rows, transactions of over 1,000 events.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

ROLLED_BACK = 0.25
SAVEPOINT = 0.1
HELD_OPEN = 0.005
HUGE = 0.004
HUGE_EVENTS = 1_200

# A writer that waits longer for another one's row gives up, as it does in a deadlock, and rolls back.
LOCK_TIMEOUT = "50ms"


class RolledBack(Exception):
    """Ends a transaction on purpose."""


class Workload:
    """What the writers share, and what they have done so far."""

    def __init__(self, database_url: str, seed: int, pause_seconds: float) -> None:
        self._database_url = database_url
        self._seed = seed
        self._pause_seconds = pause_seconds
        self._stopping = asyncio.Event()
        self._projects: list[UUID] = []
        self._worktrees: list[UUID] = []
        self.commits = 0
        self.rollbacks = 0
        self.failures = 0
        """Transactions ended by a lost connection or a server that was away; they may be committed or not."""

    async def reach(self, commits: int, timeout_seconds: float = 60) -> None:
        """Wait for that many more commits."""
        target = self.commits + commits
        async with asyncio.timeout(timeout_seconds):
            while self.commits < target:
                await asyncio.sleep(0.005)

    async def prepare(self) -> None:
        """Register the shared projects and worktrees."""
        async with await AsyncConnection.connect(self._database_url) as conn:
            for project in range(2):
                name = f"shared-{project}"
                query = "SELECT register_project(%s, %s)"
                (project_id,) = await _one(conn, query, [name, f"git@github.com:load/{name}.git"])
                self._projects.append(project_id)
                for number in range(5):
                    query = "SELECT register_worktree(%s, 'feat', %s, %s, %s)"
                    path = f"/load/{project_id}/{number}"
                    (worktree_id,) = await _one(conn, query, [project_id, f"w{number}", f"feat/w{number}", path])
                    self._worktrees.append(worktree_id)
            await conn.execute(
                "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('load', 'load/', 'load-')"
            )

    async def write(self, number: int) -> None:
        """Be writer `number` until the load ends; connect again whenever the connection is lost."""
        rng = random.Random(f"{self._seed}/{number}")
        while not self._stopping.is_set():
            try:
                async with await AsyncConnection.connect(self._database_url, autocommit=True) as conn:
                    await conn.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
                    while not self._stopping.is_set():
                        await self._transaction(conn, rng)
                        await asyncio.sleep(rng.random() * 2 * self._pause_seconds)
            except psycopg.OperationalError:
                self.failures += 1
                await asyncio.sleep(0.02)

    def stop(self) -> None:
        """Let every writer end its transaction."""
        self._stopping.set()

    async def _transaction(self, conn: AsyncConnection, rng: random.Random) -> None:
        try:
            async with conn.transaction():
                for _ in range(rng.choice((1, 1, 1, 2, 3))):
                    await self._step(conn, rng)
                if rng.random() < HUGE:
                    await self._log_many(conn, rng)
                    await self._step(conn, rng)
                if rng.random() < HELD_OPEN:
                    await asyncio.sleep(rng.random())
                if rng.random() < ROLLED_BACK:
                    raise RolledBack
        except (RolledBack, psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            self.rollbacks += 1
        else:
            self.commits += 1

    async def _step(self, conn: AsyncConnection, rng: random.Random) -> None:
        change = rng.choices(
            (self._sync, self._claim, self._update_several, self._log, self._describe, self._recreate, self._merge),
            weights=(6, 4, 3, 2, 2, 1, 1),
        )[0]
        if rng.random() < SAVEPOINT:
            try:
                async with conn.transaction():
                    await self._claim(conn, rng)
                    raise RolledBack
            except RolledBack:
                pass
        await change(conn, rng)

    async def _sync(self, conn: AsyncConnection, rng: random.Random) -> None:
        await conn.execute(
            "SELECT update_worktree_git_state(%s, p_uncommitted_count => %s, p_ahead => %s, p_last_commit_hash => %s)",
            [rng.choice(self._worktrees), rng.randrange(9), rng.randrange(9), f"{rng.getrandbits(160):040x}"],
        )

    async def _claim(self, conn: AsyncConnection, rng: random.Random) -> None:
        await conn.execute(
            "UPDATE worktrees SET agent_id = %s WHERE id = %s",
            [f"agent-{rng.randrange(1000)}", rng.choice(self._worktrees)],
        )

    async def _update_several(self, conn: AsyncConnection, rng: random.Random) -> None:
        await conn.execute(
            "UPDATE worktrees SET behind_trunk = behind_trunk + 1, metadata = metadata || %s::jsonb WHERE id = ANY(%s)",
            [f'{{"n": {rng.randrange(1000)}}}', rng.sample(self._worktrees, 3)],
        )

    async def _log(self, conn: AsyncConnection, rng: random.Random) -> None:
        await conn.execute(
            "SELECT log_activity(%s, %s, 'modified', %s)",
            [f"agent-{rng.randrange(9)}", rng.choice(self._worktrees), "größer “quoted” \\ \n end"],
        )

    async def _describe(self, conn: AsyncConnection, rng: random.Random) -> None:
        text = f"description {rng.randrange(10**9)}"
        if rng.random() < 0.3:
            await conn.execute("UPDATE worktree_types SET description = %s WHERE name = 'load'", [text])
        else:
            project = rng.choice(self._projects)
            await conn.execute("UPDATE projects SET description = %s WHERE id = %s", [text, project])

    async def _recreate(self, conn: AsyncConnection, rng: random.Random) -> None:
        name = f"own-{rng.getrandbits(64):x}"
        query = "SELECT register_worktree(%s, 'fix', %s, %s, %s)"
        (worktree_id,) = await _one(conn, query, [rng.choice(self._projects), name, f"fix/{name}", f"/load/{name}"])
        await conn.execute("UPDATE worktrees SET ahead_of_trunk = 5 WHERE id = %s", [worktree_id])
        await conn.execute("DELETE FROM worktrees WHERE id = %s", [worktree_id])

    async def _merge(self, conn: AsyncConnection, rng: random.Random) -> None:
        worktree = rng.choice(self._worktrees)
        await conn.execute(
            "UPDATE worktrees SET merged_at = now(), merged_by = 'load', active = false WHERE id = %s", [worktree]
        )
        await conn.execute(
            "UPDATE worktrees SET merged_at = NULL, merged_by = NULL, active = true WHERE id = %s", [worktree]
        )

    async def _log_many(self, conn: AsyncConnection, rng: random.Random) -> None:
        await conn.execute(
            "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
            " SELECT 'bulk', %s, 'synced', 'row ' || n FROM generate_series(1, %s) AS n",
            [rng.choice(self._worktrees), HUGE_EVENTS],
        )


@asynccontextmanager
async def writing(
    database_url: str, *, writers: int = 8, seed: int = 1, pause_seconds: float = 0.01
) -> AsyncIterator[Workload]:
    """`writers` connections change the registry for the block; at its end their last transactions are over."""
    load = Workload(database_url, seed, pause_seconds)
    await load.prepare()
    async with asyncio.TaskGroup() as tasks:
        for number in range(writers):
            tasks.create_task(load.write(number))
        try:
            yield load
        finally:
            load.stop()


async def _one(conn: AsyncConnection, query: str, values: list[object]) -> tuple[UUID]:
    row = await (await conn.execute(query, values)).fetchone()
    assert row is not None
    return row


def register_with_activities(conn: psycopg.Connection, count: int) -> None:
    """Register a project and a worktree of it, and log `count` activities there: two events more than these."""
    project = conn.execute("SELECT register_project('p', 'git@github.com:owner/p.git')").fetchone()
    worktree = conn.execute("SELECT register_worktree(%s, 'feat', 'w', 'feat/w', '/p/w')", project).fetchone()
    conn.execute(
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
        " SELECT 'a', %s, 'modified', 'row ' || n FROM generate_series(1, %s) AS n",
        [*(worktree or ()), count],
    )
