"""Branches that are called like options of git, as its plumbing makes them: no argument of git begins with one."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout, commit, git, linked
from tests.support.git.syncing import active, projects, sync

NAMES = ["-x", "--not", "--output=made", "--upload-pack=touch${IFS}made", "--exec-path=x"]
Asked = Callable[[], set[str]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """All arguments that git has been given so far."""
    program, log = tmp_path / "bin" / "git", tmp_path / "asked"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" >> {shlex.quote(str(log))}\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return lambda: set(log.read_text().split("\0"))


@pytest.mark.parametrize("name", NAMES)
def test_a_branch_that_is_called_like_an_option_is_followed_like_any_other(
    cli: CommandLine, code: Path, asked: Asked, name: str
) -> None:
    # given a trunk of that name at origin, and a work tree on a branch of such a name
    main = checkout(code / "engine", ORIGIN)
    git(main, "update-ref", f"refs/remotes/origin/{name}", "HEAD")
    git(main, "symbolic-ref", "refs/remotes/origin/HEAD", f"refs/remotes/origin/{name}")
    folder, work = linked(main, code / "-C", "plain"), f"{name}.1"
    git(main, "update-ref", f"refs/heads/{work}", "plain")
    git(folder, "symbolic-ref", "HEAD", f"refs/heads/{work}")
    commit(folder)
    # when, then
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == name
    assert active(cli) == {str(main): "main", str(folder): work}
    (found,) = cli("inflight", "--json").json
    assert (found["branch_name"], found["ahead"]) == (work, 1)
    assert cli("worktree", "register", folder, "--json").json["branch_name"] == work
    # when the trunk is gone, and may have been renamed
    git(main, "symbolic-ref", "--delete", "refs/remotes/origin/HEAD")
    git(main, "update-ref", "-d", f"refs/remotes/origin/{name}")
    sync(cli, code)
    # then
    assert f"--grep-reflog=Branch: renamed refs/heads/{name} to " in asked()
    assert not [argument for argument in asked() if argument.startswith(name)]
    assert not list(code.parent.rglob("made"))


@pytest.mark.parametrize("name", NAMES)
def test_a_branch_that_is_given_like_an_option_is_registered_as_it_is(
    cli: CommandLine, code: Path, asked: Asked, name: str
) -> None:
    main = checkout(code / "engine", ORIGIN)
    sync(cli, code)

    done = cli(
        "worktree", "register", main / "-w", "--project", "engine", "--type", "feat", f"--branch={name}", "--json"
    )

    assert done.json["branch_name"] == name
    sync(cli, code)
    assert not [argument for argument in asked() if argument.startswith(name)]
