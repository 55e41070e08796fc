"""What is asked of many rows: the answer is that of looking at each one, and no more is read than it takes."""

from __future__ import annotations

from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.schema.rows import new_project, new_worktree, scalar

DAYS = 30


def worktrees(db, rng: Random, count: int) -> list[UUID]:
    """Worktrees of three projects, active or not, untouched for 0 to 60 days; some at the very limit."""
    ids = [uuid4() for _ in range(count)]
    projects = [new_project(db, f"git@github.com:o/p{n}.git", f"p{n}") for n in range(3)]
    with db.transaction(), db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO worktrees (id, project_id, type_id, name, branch_name, path, active, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, 'b', %s, %s, now(), now() - %s * interval '1 hour')",
            [
                (
                    one, rng.choice(projects), rng.randint(1, 5), f"w{n}", f"/w/{n}", rng.random() < 0.6,
                    rng.choice((0, 24 * DAYS - 1, 24 * DAYS, 24 * DAYS + 1, rng.randrange(24 * 60))),
                )
                for n, one in enumerate(ids)
            ],
        )  # fmt: skip
    return ids


def read_of(db, table: str, columns: str) -> int:
    """How much this session has read of a table so far."""
    return scalar(db, f"SELECT {columns} FROM pg_stat_xact_user_tables WHERE relname = '{table}'")  # noqa: S608  # of constants


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("way", ["by whichever way", "by the index", "by every row"])
def test_pruning_takes_what_looking_at_each_worktree_finds(db, seed, way):
    worktrees(db, Random(seed), 60)
    db.execute(f"SET enable_seqscan = {'off' if way == 'by the index' else 'on'}")
    db.execute(f"SET enable_bitmapscan = {'off' if way == 'by every row' else 'on'}")
    db.execute(f"SET enable_indexscan = {'off' if way == 'by every row' else 'on'}")

    with db.transaction():  # one time
        limit = scalar(db, "SELECT now() - %s * interval '24 hours'", DAYS)
        before: list[dict[str, Any]] = db.execute("SELECT id, active, updated_at FROM worktrees").fetchall()
        pruned = scalar(db, "SELECT prune_inactive_worktrees(%s)", DAYS)
        left = {one["id"] for one in db.execute("SELECT id FROM worktrees")}

    assert left == {one["id"] for one in before if one["active"] or one["updated_at"] >= limit}
    assert pruned == len(before) - len(left) > 0


def test_pruning_reads_inactive_worktrees_alone(db):
    project = new_project(db)
    db.execute(
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path, active)"
        " SELECT %s, 1, 'w' || n, 'b', '/w/' || n, n > 10 FROM generate_series(1, 2000) AS n",
        [project],
    )
    db.execute("ANALYZE worktrees")

    with db.transaction():
        before = read_of(db, "worktrees", "seq_tup_read + idx_tup_fetch")
        assert scalar(db, "SELECT prune_inactive_worktrees(1)") == 0
        assert read_of(db, "worktrees", "seq_tup_read + idx_tup_fetch") - before == 10


@pytest.mark.parametrize("seed", range(5))
def test_recent_work_is_what_looking_at_each_activity_finds(db, seed):
    """Of worktrees that are there and of deleted ones, of many activities of one time."""
    rng = Random(seed)
    ids = worktrees(db, rng, 20)
    with db.transaction(), db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, file_path, created_at)"
            " VALUES (%s, %s, 'other', %s, %s, '2026-01-01'::timestamptz + %s * interval '1 day')",
            [
                (
                    f"agent-{rng.randrange(3)}",
                    rng.choice(ids),
                    f"step {n}",
                    rng.choice((None, "a.py")),
                    rng.randrange(4),
                )
                for n in range(150)
            ],
        )
    for gone in rng.sample(ids, 7):
        db.execute("DELETE FROM worktrees WHERE id = %s", [gone])
    named = {
        one["id"]: (one["name"], one["project_name"], one["type_name"])
        for one in db.execute(
            "SELECT w.id, w.name, p.name AS project_name, t.name AS type_name FROM worktrees w"
            " JOIN projects p ON p.id = w.project_id JOIN worktree_types t ON t.id = w.type_id"
            " UNION ALL SELECT id, name, project_name, type_name FROM deleted_worktrees"
        )
    }
    assert set(named) == set(ids)

    for agent in ("agent-0", "agent-1", "agent-2", "nobody"):
        done = db.execute("SELECT * FROM agent_activities WHERE agent_id = %s ORDER BY id", [agent]).fetchall()
        done.sort(key=lambda one: one["created_at"], reverse=True)
        expected = [
            (one["id"], "other", one["description"], one["file_path"], one["created_at"], *named[one["worktree_id"]])
            for one in done
        ]
        for limit, told in ((None, expected[:50]), (0, []), (7, expected[:7]), (1000, expected)):
            found = db.execute("SELECT * FROM get_agent_recent_work(%s, %s)", [agent, limit]).fetchall()
            assert [tuple(one.values()) for one in found] == told


@pytest.mark.parametrize(
    "asked", ["SELECT * FROM get_agent_recent_work('ada')", "SELECT * FROM search_registry('authentication')"]
)
def test_deleted_worktrees_are_looked_up_for_those_activities_alone_that_need_them(db, asked):
    project = new_project(db)
    there, gone = new_worktree(db, project), new_worktree(db, project, "gone")
    for worktree in (there, there, there, gone):
        db.execute("SELECT log_activity('ada', %s, 'other', 'authentication')", [worktree])
    db.execute("DELETE FROM worktrees WHERE id = %s", [gone])

    with db.transaction():
        before = read_of(db, "deleted_worktrees", "seq_scan + idx_scan")
        found = db.execute(asked).fetchall()
        assert {one.get("worktree_name", one.get("name")) for one in found} == {"feat-auth", "gone"}
        assert read_of(db, "deleted_worktrees", "seq_scan + idx_scan") - before == 1


def test_an_update_of_a_worktree_finds_room_in_its_page_however_many_were_loaded_together(db):
    db.execute(
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
        " SELECT %s, 1, 'w' || n, 'b', '/w/' || n FROM generate_series(1, 200) AS n",
        [new_project(db)],
    )
    before = read_of(db, "worktrees", "n_tup_upd - n_tup_hot_upd")
    db.execute("SELECT update_worktree_git_state(id, p_ahead := 1) FROM worktrees WHERE name ~ '0$'")
    assert read_of(db, "worktrees", "n_tup_upd - n_tup_hot_upd") == before
