"""`sync` of repositories that look different: their data apart, in a submodule, bare."""

from __future__ import annotations

from pathlib import Path

from publisher.checkouts.sync import CALLED_BARE
from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout, commit, git, linked
from tests.support.git.syncing import active, outcomes, projects, sync


def test_a_git_folder_apart(cli: CommandLine, code: Path) -> None:
    # given
    git(code, "init", "--quiet", "--initial-branch=main", "--separate-git-dir", str(code.parent / "apart"), "engine")
    main = code / "engine"
    git(main, "remote", "add", "origin", ORIGIN)
    commit(main)
    linked(main, code / "a-linked", "feat/x")
    # when
    sync(cli, code)
    # then
    assert active(cli) == {str(main): "main", str(code / "a-linked"): "feat/x"}
    assert projects(cli)["engine"]["trunk_path"] == str(main)
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}


def test_a_work_tree_of_a_submodule(cli: CommandLine, code: Path) -> None:
    # given
    part = checkout(code.parent / "part")
    main = checkout(code.parent / "engine", ORIGIN)
    git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(part), "part")
    git(main / "part", "remote", "set-url", "origin", "git@github.com:ada/part.git")
    feature = linked(main / "part", code / "feat-x", "feat/x")
    # when
    sync(cli, code)
    # then
    assert active(cli) == {str(main / "part"): "main", str(feature): "feat/x"}
    assert projects(cli)["part"]["trunk_path"] == str(main / "part")


def test_a_bare_repository_says_which_branch_is_its_trunk(cli: CommandLine, code: Path) -> None:
    # given
    upstream = checkout(code.parent / "upstream", branch="develop")
    git(upstream, "branch", "main")
    git(code, "clone", "--quiet", "--bare", str(upstream), "engine.git")
    git(code / "engine.git", "remote", "set-url", "origin", ORIGIN)
    for branch in ("develop", "main"):
        git(code / "engine.git", "worktree", "add", "--quiet", str(code / branch), branch)
    # when
    sync(cli, code)
    # then
    assert active(cli) == {str(code / "develop"): "develop", str(code / "main"): "main"}
    project = projects(cli)["engine"]
    assert (project["default_branch"], project["trunk_path"]) == ("develop", str(code / "develop"))


def test_files_of_a_repository_that_is_called_bare_are_told_and_left_alone(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "feat-x", "feat/x")
    git(main, "checkout", "--quiet", "-b", "fix/y")
    sync(cli, code)
    before = active(cli)
    assert before == {str(main): "fix/y", str(feature): "feat/x"}
    # when
    git(main, "config", "core.bare", "true")
    commit(feature)
    # then
    rows = sync(cli, code)
    assert rows["engine", "worktree"] == ("skipped", CALLED_BARE)
    assert rows["feat-x", "worktree"] == ("updated", "ahead_of_trunk, last_commit_hash, last_commit_message")
    assert (active(cli), projects(cli)["engine"]["default_branch"]) == (before, "main")
    # when
    git(main, "config", "core.bare", "false")
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}


def test_beside_a_repository_that_was_made_bare_nothing_is_missed(cli: CommandLine, code: Path) -> None:
    # given
    (code / "engine").mkdir()
    git(code / "engine", "clone", "--quiet", "--bare", str(checkout(code.parent / "upstream")), ".git")
    git(code / "engine", "remote", "set-url", "origin", ORIGIN)
    git(code / "engine", "worktree", "add", "--quiet", "main")
    # then
    assert outcomes(sync(cli, code)) == [("engine/main", "registered"), ("engine/main", "registered")]
