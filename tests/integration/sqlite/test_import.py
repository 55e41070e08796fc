"""Import of iMi's old database: what is taken, and what is changed and said."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from publisher.history.verification import verify
from tests.support.before.importing import count, everything, rows, run
from tests.support.before.sqlite import T1, T2, A, OldDatabase, P, W
from tests.support.services import wait_until
from tests.support.world import World


def test_all_that_is_well_is_taken_as_it_is(database: str, old: OldDatabase) -> None:
    everything(old)
    report = run(database, old)
    assert (report.problems, report.notes, report.is_done) == ([], [], True)
    assert report.imported == {"projects": 1, "worktrees": 1, "agent_activities": 1}
    (project,) = rows(database, "SELECT id::text, name, remote_origin, default_branch, trunk_path, active, metadata, "
        "created_at, updated_at FROM projects")  # fmt: skip
    assert project == {
        "id": P,
        "name": "engine",
        "remote_origin": "git@github.com:ada/engine.git",
        "default_branch": "main",
        "trunk_path": "/srv/engine/trunk-main",
        "active": True,
        "metadata": {},
        "created_at": datetime.fromisoformat(T1),
        "updated_at": datetime.fromisoformat(T2),
    }
    (worktree,) = rows(database, "SELECT w.id::text, w.name, t.name AS type, agent_id, w.updated_at FROM worktrees w "
        "JOIN worktree_types t ON t.id = w.type_id")  # fmt: skip
    assert worktree == {"id": W, "name": "feat-x", "type": "feat", "agent_id": None,
        "updated_at": datetime.fromisoformat(T2)}  # fmt: skip
    (activity,) = rows(database, "SELECT id::text, file_path, description FROM agent_activities")
    assert activity == {"id": A, "file_path": None, "description": "began"}


async def test_each_new_row_has_one_event_that_is_marked_in_order_and_history_verifies(
    world: World, old: OldDatabase
) -> None:
    everything(old)
    run(world.database, old)
    run(world.database, old)
    async with world.relay():
        await world.drained()
    told = [(m.envelope["type"].split(".")[-3:], m.envelope["data"]["backfill"]) for m in await world.published()]
    names = [".".join(part for part in type_ if part != "v1") for type_, _ in told]
    assert [name.split(".")[-2:] for name in names] == [
        ["project", "registered"], ["worktree", "created"], ["activity", "logged"],
    ]  # fmt: skip
    assert all(mark for _, mark in told)
    assert (await verify(world.settings())).differences == []


def test_a_second_import_adds_what_is_new_and_leaves_the_rest(database: str, old: OldDatabase) -> None:
    everything(old)
    run(database, old)
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE projects SET name = 'renamed'")
    old.activity(id=str(uuid4()), description="went on")
    report = run(database, old)
    assert report.imported == {"agent_activities": 1}
    assert report.present == {"projects": 1, "worktrees": 1, "agent_activities": 1}
    assert rows(database, "SELECT name FROM projects") == [{"name": "renamed"}]


def test_a_dry_run_says_the_same_and_changes_nothing(database: str, old: OldDatabase) -> None:
    everything(old)
    report = run(database, old, dry_run=True)
    assert (report.imported, report.is_done) == ({"projects": 1, "worktrees": 1, "agent_activities": 1}, False)
    for table in ("projects", "worktrees", "agent_activities", "outbox", "outbox_backlog"):
        assert count(database, table) == 0, table
    with psycopg.connect(database) as conn:  # and the triggers are on again
        conn.execute("SELECT register_project('p', 'https://github.com/o/p')")
        assert conn.execute("SELECT count(*) FROM outbox").fetchone() == (1,)


def test_ids_that_are_no_uuids_become_the_same_ones_each_time_and_stay_findable(
    database: str, old: OldDatabase
) -> None:
    old.repository(id="7")
    old.worktree(id="x1")
    old.activity(id="a", worktree_id="x1")
    first = run(database, old)
    assert run(database, old).imported == {}
    assert len(first.notes) == 3
    for table, id_ in (("projects", "7"), ("worktrees", "x1"), ("agent_activities", "a")):
        assert [row["metadata"] for row in rows(database, f"TABLE {table}")] == [{"sqlite_id": id_}]


ONE_ORIGIN = ["git@github.com:Ada/engine", "https://github.com/ada/ENGINE/", "ssh://git@github.com/ada/engine.git"]


@pytest.mark.parametrize("url", ONE_ORIGIN)
def test_two_repositories_of_one_origin_are_one_project(database: str, old: OldDatabase, url: str) -> None:
    everything(old)
    old.repository(id=str(uuid4()), name="copy", remote_url=url, created_at=T2)
    old.worktree(id=str(uuid4()), repo_name="copy", worktree_name="feat-y", path="/srv/copy/feat-y")
    report = run(database, old)
    (note,) = report.notes
    assert f'registered as project {P} already; worktrees of "copy" go there' in note.text
    assert [str(row["id"]) for row in rows(database, "TABLE projects")] == [P]
    assert [str(row["project_id"]) for row in rows(database, "TABLE worktrees")] == [P, P]


def test_types_are_known_renamed_added_made_or_reported(database: str, old: OldDatabase) -> None:
    old.repository()
    old.type()
    old.type(id=8, name="feat", is_builtin=1)
    for number, name in enumerate(["pr", "docs", "spike"]):
        old.worktree(id=str(uuid4()), worktree_type=name, worktree_name=name, path=f"/srv/engine/{number}")
    refused = run(database, old)
    assert [problem.text.split(" is none of")[0] for problem in refused.problems] == ['worktree_type "spike"']
    assert "--create-types" in refused.problems[0].remedy
    assert not refused.is_done
    report = run(database, old, create_types=True)
    assert report.is_done
    found = rows(database, "SELECT w.name, t.name AS type, branch_prefix FROM worktrees w "
        "JOIN worktree_types t ON t.id = w.type_id ORDER BY w.name")  # fmt: skip
    assert [(row["name"], row["type"], row["branch_prefix"]) for row in found] == [
        ("docs", "docs", "doc/"), ("pr", "review", "pr-review/"), ("spike", "spike", "spike/"),
    ]  # fmt: skip
    with psycopg.connect(database) as conn:  # the sequence is past them
        conn.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('next', 'n/', 'n-')")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2025-03-01T10:00:00Z", datetime(2025, 3, 1, 10, tzinfo=UTC)),
        ("2025-03-01T10:00:00+02:00", datetime(2025, 3, 1, 8, tzinfo=UTC)),
        ("2025-03-01 10:00:00", datetime(2025, 3, 1, 10, tzinfo=UTC)),
        ("2025-03-01t10:00:00z", datetime(2025, 3, 1, 10, tzinfo=UTC)),
        ("2025-03-01T10:00:00.123456789Z", datetime(2025, 3, 1, 10, 0, 0, 123456, UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2017-01-01T00:59:60.5+01:00", datetime(2017, 1, 1, 0, 0, 0, 500000, UTC)),
        ("2016-12-31 23:59:60", datetime(2017, 1, 1, tzinfo=UTC)),
        ("", None),
        ("yesterday", None),
        ("2025-03-01T10:00:61Z", None),
        ("2025-03-01T10:60:60Z", None),
        ("9999-12-31T23:59:60Z", None),
    ],
)
def test_times_are_kept_where_they_are_times(
    database: str, old: OldDatabase, value: str, expected: datetime | None
) -> None:
    old.repository(created_at=value)
    report = run(database, old)
    (row,) = rows(database, "SELECT created_at FROM projects")
    if expected is None:
        assert "created_at" in report.notes[0].text
        assert abs((row["created_at"] - datetime.now(UTC)).total_seconds()) < 60
    else:
        assert (row["created_at"], report.notes) == (expected, [])


def test_what_is_made_up_is_said(database: str, old: OldDatabase) -> None:
    everything(old)
    old.type(branch_prefix="", worktree_prefix=" ", created_at="long ago")
    old.activity(id=str(uuid4()), activity_type="modified", file_path="src/x.py", description="")
    old.activity(id=str(uuid4()), activity_type=" ", description=" ")
    report = run(database, old)
    (made,) = rows(
        database, "SELECT branch_prefix, worktree_prefix, created_at FROM worktree_types WHERE NOT is_builtin"
    )
    assert [(note.table, note.field, note.text.partition(" it is now ")[2]) for note in report.notes[:3]] == [
        ("worktree_types", "branch_prefix", f'"{made["branch_prefix"]}"'),
        ("worktree_types", "worktree_prefix", f'"{made["worktree_prefix"]}"'),
        ("worktree_types", "created_at", made["created_at"].isoformat()),
    ]
    assert (made["branch_prefix"], made["worktree_prefix"]) == ("docs/", "docs-")
    assert {(note.table, note.field) for note in report.notes[3:]} == {
        ("agent_activities", "description"),
        ("agent_activities", "activity_type"),
    }
    told = [row["description"] for row in rows(database, "SELECT description FROM agent_activities ORDER BY 1")]
    assert told == ["began", "modified src/x.py", "other"]


def test_worktrees_of_an_inactive_repository_are_inactive(database: str, old: OldDatabase) -> None:
    old.repository(active=0)
    old.worktree()
    report = run(database, old)
    assert [note.text for note in report.notes] == ["its repository is inactive, so it is, too"]
    assert rows(database, "SELECT active FROM worktrees") == [{"active": False}]


def test_an_old_file_without_types_is_taken(database: str, tmp_path: Path) -> None:
    old = OldDatabase(tmp_path / "older.db", with_types=False)
    everything(old)
    assert run(database, old).imported == {"projects": 1, "worktrees": 1, "agent_activities": 1}


def test_whoever_has_one_of_the_tables_gets_the_others_while_it_waits(database: str, old: OldDatabase) -> None:
    everything(old)
    waits = (
        "SELECT FROM pg_locks WHERE NOT granted AND relation = 'project_hosts'::regclass"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database) as placing, psycopg.connect(database) as looking:
        looking.autocommit = True
        placing.execute("LOCK TABLE project_hosts IN ROW EXCLUSIVE MODE")
        importing = pool.submit(run, database, old)
        wait_until(lambda: looking.execute(waits).fetchall())
        placing.execute("LOCK TABLE projects IN ROW EXCLUSIVE MODE")  # as place_project does then
        placing.commit()
        assert importing.result(60).is_done
