"""`sync` of repositories that look different: their data apart, in a submodule, bare."""

from __future__ import annotations

from pathlib import Path

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
