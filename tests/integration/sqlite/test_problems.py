"""Import of iMi's old database: what a person must decide, what can be left out, and what is no such database."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from registry.database.sqlite.source import opened
from registry.errors import Conflict, Invalid, NotFound
from tests.support.before.importing import count, everything, rows, run
from tests.support.before.sqlite import T2, OldDatabase, W
from tests.support.commandline import command_line

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("repository", {"id": None}, "id is empty"),
    ("repository", {"remote_url": ""}, "remote_url is empty"),
    ("repository", {"remote_url": "https://me:s3cret@example.com/o/r"}, "remote_origin"),
    ("repository", {"name": " "}, "name is empty"),
    ("repository", {"path": "code/engine"}, "trunk_path"),
    ("repository", {"active": "perhaps"}, 'active "perhaps" is neither 0 nor 1'),
    ("repository", {"name": b"caf\xe9"}, "it is not UTF-8"),
    ("worktree", {"id": None}, "id is empty"),
    ("worktree", {"repo_name": "gone"}, 'repo_name "gone" is no repository that is imported'),
    ("worktree", {"branch_name": ""}, "branch_name is empty"),
    ("worktree", {"branch_name": "a b"}, "branch_name"),
    ("worktree", {"path": "/srv/../x"}, "path"),
    ("worktree", {"path": "/" + "x" * 9000}, "path"),
    ("worktree", {"agent_id": "a\0b"}, "agent_id: it has a NUL character"),
    ("activity", {"id": None}, "id is empty"),
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
    assert problem.id == ("NULL" if "id" in values else "bad")
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
    ("begun", "text"),
    [
        ("SELECT begin_mirror('headquarters', 's')", "a read-only mirror of headquarters"),
        ("SELECT begin_replica('headquarters', 's', gen_random_uuid(), 1)", "a read-only replica of headquarters"),
    ],
)
@pytest.mark.parametrize("leave_out", [False, True])
def test_a_copy_of_another_registry_refuses_it_and_blames_no_row(
    database: str, old: OldDatabase, begun: str, text: str, leave_out: bool
) -> None:
    everything(old)
    rows(database, begun)
    with pytest.raises(Conflict, match=text):
        run(database, old, leave_out=leave_out)


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


def test_of_a_fault_that_many_rows_have_the_first_are_told_and_how_many_there_are(
    database: str, old: OldDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everything(old)
    old.repository(id="one", name="one", default_branch="")
    with closing(sqlite3.connect(old.file)) as conn, conn:
        rows = [(f"{n}", "danced", W) for n in range(1500)] + [(f"orphan {n}", "created", "gone") for n in range(1200)]
        conn.executemany("INSERT INTO agent_activities VALUES (?, 'ada', ?3, ?2, '', 'x', '2025-03-01')", rows)
    cli = command_line(monkeypatch, capsys, DATABASE_URL=database)

    said = cli("import-sqlite", old.file, "--dry-run")
    told = json.loads(cli("import-sqlite", old.file, "--dry-run", "--json").out)

    assert "1,180 more problems of agent_activities: see --json" in said.err
    assert "1,480 more notes of agent_activities about id: see --json" in said.err
    assert "1,480 more notes of agent_activities about activity_type: see --json" in said.err
    assert "nothing was imported: 1,200 rows have a problem" in said.out
    assert len(said.err.splitlines()) < 100
    assert told["counts"] == {
        "problems": {"agent_activities": 1200},
        "notes": {
            "repositories": {"id": 1, "default_branch": 1},
            "agent_activities": {"id": 1500, "activity_type": 1500},
        },
    }
    assert (len(told["problems"]), len(told["notes"])) == (1000, 2002)


def test_what_is_told_of_a_row_is_short_and_has_no_password_in_it(database: str, old: OldDatabase) -> None:
    everything(old)
    old.activity(id="x " * 10_000, description=" ")
    old.activity(id='"https://me:s3cret@example.com/o/r"', worktree_id='a "b" ' * 10_000)

    report = run(database, old, leave_out=True)

    told = [*report.problems, *report.notes]
    assert {entry.table for entry in told} == {"agent_activities"}
    assert all(len(text) < 500 for entry in told for text in entry)
    assert "s3cret" not in str(told)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "there is no such file"),
        (b"not a database at all, but long enough to look like one" * 40, "file is not a database"),
        ("CREATE TABLE x (y)", "it has no table repositories"),
        ("CREATE TABLE repositories (id TEXT)", "table repositories has no column name"),
        ("CREATE VIEW repositories AS SELECT 1 AS id", "it has no table repositories"),
        (
            "CREATE TABLE repositories (id TEXT, name AS (hex(zeroblob(1000000000))), path, remote_url, default_branch,"
            " created_at, updated_at, active)",
            "table repositories: column name is computed",
        ),
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


def test_a_value_that_is_larger_than_any_is_not_read(database: str, old: OldDatabase) -> None:
    everything(old)
    with closing(sqlite3.connect(old.file)) as conn, conn:
        conn.execute("UPDATE agent_activities SET description = hex(zeroblob(10000000))")
    with pytest.raises(Invalid, match=r"^table agent_activities: string or blob too big$"):
        run(database, old)


def test_what_sqlite_says_of_a_damaged_schema_is_one_line(old: OldDatabase) -> None:
    everything(old)
    with closing(sqlite3.connect(old.file)) as conn, conn:
        conn.execute("PRAGMA writable_schema = ON")
        conn.execute("UPDATE sqlite_schema SET name = 'two' || char(10) || 'lines', sql = 'nonsense'")
    with pytest.raises(Invalid, match=r"malformed database schema \(two\\nlines\)"), opened(old.file):
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
