"""What comes and goes is told by one event each, in the order of its row, as the outbox has it."""

from __future__ import annotations

import json
import random

import psycopg
from psycopg import AsyncConnection

from registry.database import migrate
from tests.faults.suite.changes.lives import LIVES, MOST_MERGED, step
from tests.faults.suite.checker import Allowed, Told, compare
from tests.faults.suite.entries import ACTS, entry_of
from tests.faults.suite.writers import ledger, prepare

STEPS = 500
OUTBOX = "SELECT entity, action, data FROM outbox ORDER BY id"
ALIVE = "SELECT count(*) FROM projects WHERE name = ANY(%s)"
WORKTREES = "SELECT max(count) FROM (SELECT count(*) FROM worktrees GROUP BY project_id) AS every"


async def test_each_change_is_told_by_one_event(empty_database: str) -> None:
    # given
    with psycopg.connect(empty_database) as conn:
        migrate.apply(conn)
        prepare(conn)

    # when
    rng = random.Random(1)
    async with await AsyncConnection.connect(empty_database, autocommit=True) as conn:
        for _ in range(STEPS):
            async with conn.transaction():
                await step(conn, rng)

    # then
    committed = ledger(empty_database)
    written = {entry.as_told: entry for entry in committed}
    with psycopg.connect(empty_database) as conn:
        told = [
            entry_of(json.dumps({"type": f"imi.{entity}.{action}.v1", "data": data}).encode())
            for entity, action, data in conn.execute(OUTBOX)
        ]
        assert conn.execute(ALIVE, [LIVES]).fetchone() <= (len(LIVES),)
        assert conn.execute(WORKTREES).fetchone() <= (MOST_MERGED,)
    allowed = Allowed(set(committed), set(), set(), {})
    assert compare(allowed, [written.get(entry, entry) for entry in told if entry is not None]) == Told()

    # and each kind of end is among them
    assert {entry.token.split(" ")[0] for entry in committed if entry.is_act} == ACTS
