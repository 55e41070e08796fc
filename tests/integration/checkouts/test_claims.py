"""Whatever an agent does with its branch, a sync does not take the work tree from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout, commit, git, linked
from tests.support.git.syncing import sync, worktrees


def rebase(_cli: CommandLine, feature: Path, _row: str) -> None:
    """Onto main another branch than its own: the reflog does not say that it left that."""
    git(feature, "branch", "feat/y")
    git(feature, "rebase", "--quiet", "main", "feat/y")


def begin_anew(_cli: CommandLine, feature: Path, _row: str) -> None:
    """A branch without a commit before it."""
    git(feature, "switch", "--quiet", "--orphan", "feat/y")
    commit(feature)


def point(_cli: CommandLine, feature: Path, _row: str) -> None:
    """HEAD at another branch, without a checkout."""
    git(feature, "branch", "feat/y")
    git(feature, "symbolic-ref", "HEAD", "refs/heads/feat/y")


def tell_first(cli: CommandLine, _feature: Path, row: str) -> None:
    """The registry knows of the new branch before git does."""
    assert cli("worktree", "update", row, "--branch", "feat/y").code == 0


@pytest.mark.parametrize("change", [rebase, begin_anew, point, tell_first])
def test_a_work_tree_that_goes_to_another_branch_keeps_its_agent(
    cli: CommandLine, code: Path, change: Callable[[CommandLine, Path, str], None]
) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "feat-x", "feat/x")
    commit(feature)
    sync(cli, code)
    row = worktrees(cli)[str(feature)]["id"]
    cli("worktree", "claim", row, "--agent", "ada")
    # when
    change(cli, feature, row)
    for _ in range(2):
        sync(cli, code)
    # then
    found = worktrees(cli)[str(feature)]
    assert (found["id"], found["agent_id"]) == (row, "ada")
    assert found["branch_name"] == git(feature, "branch", "--show-current")
