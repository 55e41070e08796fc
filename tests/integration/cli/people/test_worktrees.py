"""Worktrees on the command line: registered, meant, claimed, synced with git, merged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, commit, git
from tests.support.outbox_reader import events


def test_a_worktree_is_meant_by_name_path_folder_and_id(
    cli: CommandLine, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worktree = cli("worktree", "show", "feat-search", "--json").json
    (engine / "src").mkdir()
    for reference in (
        f"{engine}/src",
        "feat-search@Engine",
        f"feat-search@{ORIGIN}",
        worktree["id"][:9],
    ):
        assert cli("worktree", "show", reference, "--json").json == worktree, reference
    monkeypatch.chdir(engine / "src")
    assert cli("worktree", "show", "--json").json == worktree


def test_a_worktree_lives_from_registration_to_merge(cli: CommandLine, engine: Path, database: str) -> None:
    worktree = cli("worktree", "show", engine, "--json").json
    assert (worktree["type_name"], worktree["branch_name"], worktree["path"]) == ("feat", "feat/search", str(engine))
    # when
    assert cli("worktree", "claim", "feat-search", "--agent", "ada", "--json").json["agent_id"] == "ada"
    # then
    refused = cli("worktree", "claim", "feat-search", "--agent", "bob")
    assert refused.code == 1
    assert 'is held by agent "ada"' in refused.err
    assert cli("worktree", "release", "feat-search", "--agent", "bob").code == 1
    assert cli("worktree", "release", "feat-search", "--json").json["agent_id"] is None
    # when
    merged = cli("worktree", "merge", "feat-search", "deadbeef", "--by", "ada", "--json").json
    # then
    assert (merged["merged_by"], merged["merge_commit_hash"], merged["active"]) == ("ada", "deadbeef", False)
    assert cli("worktree", "list", "--json").json == []
    assert [one["name"] for one in cli("worktree", "list", "--all", "--json").json] == ["feat-search"]
    assert [row[:2] for row in events(database)] == [
        ("project", "registered"),
        ("worktree", "created"),
        ("worktree", "claimed"),
        ("worktree", "released"),
        ("worktree", "merged"),
    ]


def test_the_git_state_is_what_git_says(cli: CommandLine, engine: Path) -> None:
    # given two commits ahead, one behind, three files not committed (one of them in a new folder)
    commit(engine, "One")
    last = commit(engine, "Grüße")
    commit(engine.parent / "trunk-main", "Trunk")
    (engine / "new").mkdir()
    for name in ("new/a", "b", "0.txt"):
        (engine / name).write_text("changed")
    # when
    state = cli("worktree", "git-state", "--sync", engine, "--json").json
    # then
    assert (state["uncommitted_files_count"], state["ahead_of_trunk"], state["behind_trunk"]) == (3, 2, 1)
    assert (state["last_commit_hash"], state["last_commit_message"]) == (last, "Grüße")
    assert state["status"] == "uncommitted"
    # when
    given = cli("worktree", "git-state", "feat-search", "--uncommitted", 0, "--ahead", 5, "--json").json
    # then
    assert (given["status"], given["ahead_of_trunk"], given["last_commit_hash"]) == ("diverged", 5, last)


def test_a_worktree_can_be_registered_before_it_is_there(cli: CommandLine, engine: Path) -> None:
    arguments = ("--project", "Engine", "--branch", "pr-review/7", "--agent", "ada", "--json")
    worktree = cli("worktree", "register", "/nowhere/pr-7", *arguments).json
    assert (worktree["name"], worktree["type_name"], worktree["agent_id"]) == ("pr-7", "review", "ada")
    assert cli("worktree", "remove", "pr-7", "--yes", "--json").json["active"] is False


def test_a_detached_head_needs_a_branch(cli: CommandLine, engine: Path) -> None:
    git(engine, "checkout", "--quiet", "--detach")
    done = cli("worktree", "register", engine)
    assert done.code == 1
    assert "its HEAD is detached; give --branch" in done.err
