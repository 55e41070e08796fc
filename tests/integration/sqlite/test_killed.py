"""An import that is killed while it inserts leaves the registry as it was, and the next one brings in all, once."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from signal import SIGKILL
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from publisher.history.verification import verify
from tests.support.before.adopted import all_rows
from tests.support.before.importing import everything
from tests.support.before.sqlite import T2, A, OldDatabase, P, W
from tests.support.processes import COMMAND, environment, run
from tests.support.services import wait_until
from tests.support.world import World

ACTIVITIES = 10_000
SIZE = """
SELECT sum(pg_relation_size(oid))
FROM pg_class
WHERE oid = %(table)s::regclass OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = %(table)s::regclass)
"""
"""Of a table with its parts: what is not committed has its place, too, and anybody sees that."""
OTHERS = """
SELECT FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
TRIGGERS = "SELECT tgrelid::regclass::text, tgname, tgenabled::text FROM pg_trigger ORDER BY 1, 2"
NEW_EVENTS = "SELECT entity, count(*), count(DISTINCT entity_id) FROM outbox WHERE id > %s GROUP BY 1"


def many_activities(old: OldDatabase) -> list[str]:
    """One repository and one worktree with so many that their import takes a second or more; returns their ids."""
    everything(old)
    ids = [str(uuid4()) for _ in range(ACTIVITIES)]
    with closing(sqlite3.connect(old.file)) as conn, conn:
        insert = "INSERT INTO agent_activities VALUES (?, 'ada', ?, 'modified', 'f', 'x', ?)"
        conn.executemany(insert, ((id_, W, T2) for id_ in ids))
    return [A, *ids]


def import_and_kill(database: str, file: Path, table: str) -> None:
    """Kill the import when it has put rows into `table`, and return when the server has noticed."""
    with psycopg.connect(database, autocommit=True) as conn:

        def size() -> int:
            return int((conn.execute(SIZE, {"table": table}).fetchone() or (0,))[0])

        before = size()
        process = subprocess.Popen([*COMMAND, "import-sqlite", str(file)], env=environment(DATABASE_URL=database))
        try:
            wait_until(lambda: process.poll() is not None or size() > before)
        finally:
            process.kill()
        assert process.wait() == -SIGKILL
        assert size() > before
        wait_until(lambda: conn.execute(OTHERS).fetchone() is None)


def state(database: str) -> tuple[Any, ...]:
    """All rows, what was told of them and is to be told, and which triggers are on."""
    with psycopg.connect(database) as conn:
        queries = ("SELECT id FROM outbox ORDER BY id", "TABLE outbox_backlog", TRIGGERS)
        return all_rows(conn), *(conn.execute(query.encode()).fetchall() for query in queries)


@pytest.mark.parametrize("table", ["agent_activities", "outbox"])
async def test_an_import_killed_while_it_inserts_leaves_nothing_and_the_next_one_brings_all_once(
    world: World, old: OldDatabase, table: str
) -> None:
    ids = many_activities(old)
    world.write(2)
    before = state(world.database)
    rows, told, *_ = before

    import_and_kill(world.database, old.file, table)

    assert state(world.database) == before
    again = run("import-sqlite", str(old.file), DATABASE_URL=world.database)
    assert (again.returncode, again.stderr) == (0, "")
    assert f"agent_activities: {len(ids):,} imported\n" in again.stdout
    after, _, *left = state(world.database)
    assert left == [[], before[-1]]
    assert {key: row for key, row in after.items() if key in rows} == rows
    new = [("projects", P), ("worktrees", W), *(("agent_activities", id_) for id_ in ids)]
    assert sorted(after.keys() - rows.keys()) == sorted(new)
    events = {(entity, number, of) for entity, number, of in world.rows(NEW_EVENTS, told[-1][0])}
    assert events == {("project", 1, 1), ("worktree", 1, 1), ("activity", len(ids), len(ids))}
    assert (await verify(world.settings())).differences == []
