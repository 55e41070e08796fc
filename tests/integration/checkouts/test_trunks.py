"""`sync` after everything that git does to branches: which one is the trunk, and what is in a worktree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout, commit, git
from tests.support.git.syncing import projects, sync, worktrees


def test_work_on_a_branch_does_not_become_the_trunk(cli: CommandLine, code: Path) -> None:
    # given a repository that was just made, and was never pushed
    main = checkout(code / "engine", ORIGIN, commits=0)
    sync(cli, code)
    # when
    git(main, "checkout", "--quiet", "-b", "feat/x")
    commit(main)
    # then
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == "main"
    (work,) = cli("inflight", "--json").json
    assert (work["branch_name"], work["ahead"]) == ("feat/x", 1)


def test_what_is_checked_out_at_first_is_not_the_trunk_when_there_is_a_main(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN, branch="master")
    git(main, "checkout", "--quiet", "-b", "feat/x")
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == "master"


def test_the_trunk_is_renamed_before_it_was_ever_pushed(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    git(main, "branch", "main-again")
    sync(cli, code)
    # when
    git(main, "branch", "--move", "main", "master-plan")
    git(main, "branch", "--move", "master-plan", "trunk")
    git(main, "checkout", "--quiet", "-b", "feat/x")
    commit(main)
    # then
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == "trunk"
    (work,) = cli("inflight", "--json").json
    assert (work["branch_name"], work["ahead"]) == ("feat/x", 1)


def test_the_trunk_is_renamed_here_and_at_an_origin_that_does_not_say_which_it_is(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "engine", ORIGIN, branch="develop")
    git(main, "update-ref", "refs/remotes/origin/develop", "develop")
    sync(cli, code)
    # when
    git(main, "branch", "--move", "develop", "trunk")
    git(main, "update-ref", "-d", "refs/remotes/origin/develop")
    for branch in ("trunk", "main", "feat/y"):
        git(main, "update-ref", f"refs/remotes/origin/{branch}", "trunk")
    # then
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == "trunk"


def cloned(code: Path, branch: str = "master") -> Path:
    """A clone of a repository whose default branch is `branch`."""
    upstream = checkout(code.parent / "upstream", branch=branch)
    git(code, "clone", "--quiet", str(upstream), "engine")
    git(code / "engine", "config", "url.file:///.insteadOf", "git@github.com:no/thing")
    git(code / "engine", "config", f"url.{upstream}.insteadOf", ORIGIN)
    return code / "engine"


@pytest.mark.parametrize("name", ["main", "develop"])
def test_the_default_branch_is_renamed_at_the_origin(cli: CommandLine, code: Path, name: str) -> None:
    # given
    main = cloned(code)
    git(main, "config", "--unset", f"url.{code.parent / 'upstream'}.insteadOf")
    git(main, "remote", "set-url", "origin", ORIGIN)
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == "master"
    # when origin/HEAD names a branch that is gone
    git(code.parent / "upstream", "branch", "--move", "master", name)
    git(main, "fetch", "--quiet", "--prune", str(code.parent / "upstream"), "+refs/heads/*:refs/remotes/origin/*")
    # then
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == name


def test_a_trunk_that_origin_lost_and_nothing_tells_which_took_its_place_is_told(cli: CommandLine, code: Path) -> None:
    # given
    main, upstream = cloned(code, "main"), code.parent / "upstream"
    git(main, "config", "--unset", f"url.{upstream}.insteadOf")
    git(main, "remote", "set-url", "origin", ORIGIN)
    assert ("engine", "branch") not in sync(cli, code)
    # when
    git(upstream, "branch", "--move", "main", "trunk")
    git(upstream, "branch", "feat/y")
    git(main, "fetch", "--quiet", "--prune", str(upstream), "+refs/heads/*:refs/remotes/origin/*")
    # then
    outcome, detail = sync(cli, code)["engine", "branch"]
    assert (outcome, projects(cli)["engine"]["default_branch"]) == ("skipped", "main")
    assert detail.startswith('origin/HEAD names "main", which origin has no more: "main" is kept; git remote set-head')
    # when it is told
    git(main, "remote", "set-head", "origin", "trunk")
    rows = sync(cli, code)
    assert rows["engine", "project"] == ("updated", "default_branch")
    assert ("engine", "branch") not in rows


def test_a_local_branch_with_the_name_of_a_remote_one(cli: CommandLine, code: Path) -> None:
    main = cloned(code)
    git(main, "config", "--unset", f"url.{code.parent / 'upstream'}.insteadOf")
    git(main, "remote", "set-url", "origin", ORIGIN)
    git(main, "branch", "origin/master")
    git(main, "branch", "origin/HEAD")
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == "master"


def test_a_commit_message_without_end_is_cut(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    (code / "message").write_text("ü" * 5_000_000)
    git(main, "commit", "--quiet", "--allow-empty", "--file", str(code / "message"))
    sync(cli, code)
    assert worktrees(cli)[str(main)]["last_commit_message"] == "ü" * 1000


def test_work_in_a_submodule_is_not_committed(cli: CommandLine, code: Path) -> None:
    # given
    part = checkout(code.parent / "part")
    main = checkout(code / "engine", ORIGIN)
    git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(part), "part")
    git(main, "commit", "--quiet", "--message", "Part")
    sync(cli, code)
    assert worktrees(cli)[str(main)]["uncommitted_files_count"] == 0
    # when
    (main / "part" / "new").write_text("x")
    # then
    sync(cli, code)
    assert worktrees(cli)[str(main)]["uncommitted_files_count"] == 1


def test_a_branch_without_history_has_no_last_commit(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    sync(cli, code)
    (before,) = worktrees(cli).values()
    assert before["last_commit_hash"]

    git(main, "checkout", "--quiet", "--orphan", "main-again")
    sync(cli, code)

    (after,) = worktrees(cli).values()
    assert (after["branch_name"], after["last_commit_hash"], after["last_commit_message"]) == ("main-again", None, None)
