"""Activities and questions on the command line, and how what is found is shown."""

from __future__ import annotations

import getpass
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.support.commandline import CommandLine
from tests.support.credentials import SECRET_VALUES


def test_activities(cli: CommandLine, engine: Path) -> None:
    logged = cli(
        "activity",
        "log",
        "modified",
        "Fuzzy",
        "--worktree",
        engine,
        "--agent",
        "ada",
        "--file",
        "a.py",
        "--metadata",
        "{}",
    )
    assert cli("activity", "log", "other", "Looked", "--worktree", "feat-search").code == 0
    newest, oldest = cli("activity", "list", "--json").json
    assert UUID(logged.out.strip()) == UUID(oldest["id"])
    assert (oldest["agent_id"], oldest["file_path"], oldest["project_name"]) == ("ada", "a.py", "Engine")
    assert newest["agent_id"] == getpass.getuser()
    assert [one["id"] for one in cli("activity", "list", "--agent", "ada", "--json").json] == [oldest["id"]]
    assert len(cli("activity", "list", "--limit", 1, "--project", "Engine", "--json").json) == 1
    assert "feat-search@Engine" in cli("activity", "list", "--worktree", "feat-search").out


def test_questions_about_the_registry(cli: CommandLine, engine: Path) -> None:
    cli("worktree", "git-state", "feat-search", "--uncommitted", 2)
    (work,) = cli("inflight", "--json").json
    assert (work["worktree_name"], work["status"], work["uncommitted_count"]) == ("feat-search", "uncommitted", 2)
    assert cli("inflight", "--project", "Engine", "--json").json == [work]
    assert "±2" in cli("inflight").out
    (match,) = cli("search", "engin", "--json").json
    assert match["name"] == "Engine"
    assert "nothing like" in cli("search", "zzzz").out
    (match,) = cli("search", "engien", "--json").json
    assert match["name"] == "Engine"
    for words in ("engin", "feat-search", "feat/sea"):
        assert "feat-sear" in cli("search", words).out
    (match,) = cli("search", "feat-search", "--in", "worktree", "--json").json
    assert (match["kind"], match["name"], match["project_name"]) == ("worktree", "feat-search", "Engine")
    assert {match["kind"] for match in cli("search", "engin", "--in", "all", "--json").json} == {"project", "worktree"}
    assert len(cli("search", "engin", "--in", "all", "--limit", 1, "--json").json) == 1
    assert cli("stats", "--json").json["in_flight_worktrees"] == 1
    assert "1 active, 1 in all" in cli("stats").out
    assert cli("path", "Engine").out == f"{engine.parent / 'trunk-main'}\n"
    assert cli("path", "Engine", "feat/new").out == f"{engine.parent / 'feat-new'}\n"


@pytest.mark.parametrize("value", [value for value in SECRET_VALUES if len(value) <= 512])
def test_what_is_looked_for_is_told_without_its_credential(cli: CommandLine, value: str) -> None:
    done = cli("search", value)
    assert "s3cret" not in done.out + done.err


def test_one_thing_has_one_set_of_keys_in_events_lists_and_queries(
    cli: CommandLine, engine: Path, database: str
) -> None:
    # given what the events say of each thing
    cli("worktree", "git-state", "feat-search", "--uncommitted", 2, "--ahead", 1)
    cli("type", "add", "docs")
    cli("activity", "log", "other", "Looked", "--worktree", engine)
    with psycopg.connect(database) as conn:
        rows = conn.execute("SELECT entity, data FROM outbox ORDER BY id").fetchall()
    not_shown = {"changed", "remote_origin"}  # of a worktree, the second is its project's
    told = {
        entity: {key: value for key, value in data.items() if key not in not_shown and not key.endswith("_at")}
        for entity, data in rows
    }
    whole = {
        "project": [cli("project", "show", "Engine", "--json").json, *cli("project", "list", "--json").json],
        "worktree": [cli("worktree", "show", engine, "--json").json, *cli("worktree", "list", "--json").json],
        "worktree_type": cli("type", "list", "--json").json[-1:],
        "activity": cli("activity", "list", "--json").json,
    }
    partly = {"project": cli("search", "Engine", "--json").json, "worktree": cli("inflight", "--json").json}
    # then all of it has the same name and value wherever it is shown
    for entity, shown in whole.items():
        for row in shown:
            assert {key: row.get(key) for key in told[entity]} == told[entity]
    for entity, least in (
        ("project", {"project_id", "project_name", "name", "trunk_path"}),
        (
            "worktree",
            {"worktree_id", "project_id", "project_name", "name", "branch_name", "agent_id", "status"}
            | {"uncommitted_files_count", "ahead_of_trunk", "behind_trunk"},
        ),
    ):
        (row,) = partly[entity]
        assert least <= row.keys()
        assert {key: row[key] for key in least} == {key: told[entity][key] for key in least}


@pytest.mark.parametrize("command", ["project", "worktree", "activity", "type"])
def test_tables_fit_80_columns(cli: CommandLine, command: str) -> None:
    # given long values
    long = "a-rather-long-name-of-a-thing-that-does-not-fit-into-a-narrow-column"
    path = f"/home/ada/code/{long}/trunk-main"
    cli("project", "register", "--origin", f"git@github.com:ada/{long}.git", "--trunk-path", path)
    cli(
        "worktree",
        "register",
        f"/home/ada/code/{long}",
        "--project",
        long,
        "--branch",
        f"feat/{long}",
        "--agent",
        "ada",
    )
    cli("activity", "log", "other", long, "--worktree", f"{long}@{long}", "--file", path)
    cli("type", "add", "docs", "--description", long)
    # when
    out = cli(command, "list").out
    # then
    assert len(out.splitlines()) > 4
    assert max(len(line) for line in out.splitlines()) <= 80
