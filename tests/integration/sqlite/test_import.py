"""Import of iMi's old database: what is taken, what is changed and said, what a person must decide."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from publisher.history.verification import verify
from registry.database.connection import connect_blocking
from registry.database.sqlite import Choices, Report, transfer
from registry.database.sqlite.source import opened
from registry.errors import Invalid, NotFound
from tests.support.before.sqlite import T1, T2, OldDatabase
from tests.support.commandline import command_line
from tests.support.world import World

P, W, A = (f"{digit * 8}-{digit * 4}-4{digit * 3}-8{digit * 3}-{digit * 12}" for digit in "123")


@pytest.fixture
def old(tmp_path: Path) -> OldDatabase:
    return OldDatabase(tmp_path / "imi.db")


def run(database: str, old: OldDatabase, **choices: bool) -> Report:
    with connect_blocking(database) as conn, opened(old.file) as source:
        return transfer(conn, source, Choices(**choices))


def rows(database: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(database, row_factory=dict_row) as conn:
        return conn.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]


def count(database: str, table: str) -> int:
    return len(rows(database, f"TABLE {table}"))


def everything(old: OldDatabase) -> None:
    old.repository()
    old.worktree()
    old.activity()


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


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("repository", {"remote_url": ""}, "remote_url is empty"),
    ("repository", {"remote_url": "https://me:s3cret@example.com/o/r"}, "remote_origin"),
    ("repository", {"name": " "}, "name is empty"),
    ("repository", {"path": "code/engine"}, "trunk_path"),
    ("repository", {"active": "perhaps"}, 'active "perhaps" is neither 0 nor 1'),
    ("repository", {"name": b"caf\xe9"}, "it is not UTF-8"),
    ("worktree", {"repo_name": "gone"}, 'repo_name "gone" is no repository that is imported'),
    ("worktree", {"branch_name": ""}, "branch_name is empty"),
    ("worktree", {"branch_name": "a b"}, "branch_name"),
    ("worktree", {"path": "/srv/../x"}, "path"),
    ("worktree", {"path": "/" + "x" * 9000}, "path"),
    ("worktree", {"agent_id": "a\0b"}, "agent_id: it has a NUL character"),
    ("activity", {"worktree_id": "gone"}, 'worktree_id "gone" is no worktree that is imported'),
    ("activity", {"agent_id": ""}, "agent_id is empty"),
    ("activity", {"agent_id": "x" * 600}, "agent_id"),
]


@pytest.mark.parametrize(("kind", "values", "text"), WRONG, ids=[f"{kind} {values}"[:60] for kind, values, _ in WRONG])
def test_a_row_that_breaks_a_rule_is_reported_and_can_be_left_out(
    database: str, old: OldDatabase, kind: str, values: dict[str, Any], text: str
) -> None:
    everything(old)
    well = {
        "repository": {"name": "bad"},
        "worktree": {"path": "/srv/engine/bad", "worktree_name": "bad"},
        "activity": {},
    }
    getattr(old, kind)(**({"id": "bad"} | well[kind] | values))
    refused = run(database, old)
    (problem,) = refused.problems
    assert problem.id == "bad"
    assert text in problem.text
    assert "s3cret" not in problem.text
    assert count(database, "projects") == 0
    report = run(database, old, leave_out=True)
    assert report.is_done
    assert report.imported == {"projects": 1, "worktrees": 1, "agent_activities": 1}


@pytest.mark.parametrize("taken", [{"path": "/srv/engine/feat-x"}, {"worktree_name": "feat-x"}])
def test_a_path_or_name_that_is_taken_is_reported(database: str, old: OldDatabase, taken: dict[str, str]) -> None:
    everything(old)
    old.worktree(**({"id": "later", "worktree_name": "other", "path": "/srv/engine/other", "created_at": T2} | taken))
    (problem,) = run(database, old).problems
    assert (problem.table, problem.id) == ("worktrees", "later")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2025-03-01T10:00:00Z", datetime(2025, 3, 1, 10, tzinfo=UTC)),
        ("2025-03-01T10:00:00+02:00", datetime(2025, 3, 1, 8, tzinfo=UTC)),
        ("2025-03-01 10:00:00", datetime(2025, 3, 1, 10, tzinfo=UTC)),
        ("", None),
        ("yesterday", None),
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


def test_a_thousand_activities_with_one_that_is_wrong(database: str, old: OldDatabase) -> None:
    everything(old)
    with closing(sqlite3.connect(old.file)) as conn, conn:
        conn.executemany(
            "INSERT INTO agent_activities VALUES (?, 'ada', ?, 'modified', ?, 'x', ?)",
            [(str(uuid4()), W, f"src/{n}.py" if n != 700 else "a\0b", T2) for n in range(1000)],
        )
    report = run(database, old, leave_out=True)
    assert (len(report.problems), report.imported["agent_activities"]) == (1, 1000)
    assert rows(database, "SELECT count(*) AS n FROM outbox WHERE entity = 'activity'") == [{"n": 1000}]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "there is no such file"),
        (b"not a database at all, but long enough to look like one" * 40, "file is not a database"),
        ("CREATE TABLE x (y)", "it has no table repositories"),
        ("CREATE TABLE repositories (id TEXT)", "table repositories has no column name"),
    ],
)
def test_what_is_not_imis_database_is_refused(tmp_path: Path, content: str | bytes | None, text: str) -> None:
    file = tmp_path / "f.db"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        with closing(sqlite3.connect(file)) as conn:
            conn.executescript(content)
    with pytest.raises((Invalid, NotFound), match=text), opened(file):
        pass


def test_on_the_command_line(
    database: str, old: OldDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = command_line(monkeypatch, capsys, DATABASE_URL=database)
    everything(old)
    old.activity(id="orphan", worktree_id="gone")
    done = cli("import-sqlite", old.file)
    assert done.code == 1
    assert 'problem: agent_activities orphan: worktree_id "gone"' in done.err
    assert "nothing was imported: 1 rows have a problem" in done.out
    done = cli("import-sqlite", old.file, "--leave-out", "--dry-run")
    assert (done.code, "agent_activities: 1 would be imported" in done.out) == (0, True)
    done = cli("import-sqlite", old.file, "--leave-out")
    assert (done.code, "projects: 1 imported" in done.out) == (0, True)
    assert cli("import-sqlite", old.file, "--leave-out", "--json").json["present"]["projects"] == 1
    assert cli("import-sqlite", "/none").code == 1
