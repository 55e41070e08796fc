"""Reading a checkout with an old git: it is read, or refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from publisher.checkouts import git as reader
from publisher.checkouts import run_git
from registry.errors import Invalid
from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout, git
from tests.support.git.traps import answers

ADDED_IN = {
    "worktree list --porcelain -z": (2, 36),
    "rev-parse --path-format": (2, 31),
    "worktree list --expire": (2, 40),
    "--no-lazy-fetch": (2, 44),
    "--attr-source": (2, 41),
    "--config-env": (2, 31),
    "config get": (2, 46),
    "config list": (2, 46),
    "for-each-ref --include-root-refs": (2, 45),
    "for-each-ref --exclude": (2, 42),
    "cat-file -Z": (2, 42),
    "status --no-ahead-behind": (2, 17),
}
"""What of the interface of git is newer than the oldest that is read; a blank stands for anything between."""


@pytest.fixture
def old_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installed git behind a door that knows no more than an old one; the file says which."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "git").write_text(f"""#!{sys.executable} -IS
import os, sys
version = open({str(folder / "version")!r}).read().strip()
given = sys.argv[1:]
if given == ["version"]:
    print("git version", version)
    raise SystemExit
for option, added_in in {ADDED_IN!r}.items():
    rest = iter(given)
    is_given = all(any(one.partition("=")[0] == part for one in rest) for part in option.split())
    if is_given and tuple(map(int, version.split(".")[:2])) < added_in:
        print("error: unknown option or command", option, file=sys.stderr)
        raise SystemExit(129)
os.execv({real!r}, [{real!r}, *given])
""")
    (folder / "git").chmod(0o755)
    (folder / "version").write_text("99.0")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "version"


@pytest.mark.parametrize("name", ["line\nbreak", "empty\n\nlocked", "empty\n\nline", "empty\n\nworktree /other"])
def test_an_old_git_is_read_or_refused_in_one_line(tmp_path: Path, old_git: Path, name: str) -> None:
    # given
    main = checkout(tmp_path / "engine", ORIGIN)
    git(main, "worktree", "add", "--quiet", "-b", "feat/a", str(tmp_path / "feat a"))
    # then
    old_git.write_text("2.34.1")
    with pytest.raises(subprocess.CalledProcessError):  # the door is shut
        git(main, "worktree", "list", "--porcelain", "-z")
    found = reader.repository(main)
    assert {one.path: one.branch for one in found.worktrees} == {main: "main", tmp_path / "feat a": "feat/a"}
    # then
    git(main, "worktree", "add", "--quiet", "-b", "feat/b", str(tmp_path / name))
    with pytest.raises(Invalid, match="line break"):
        reader.repository(main)


@pytest.mark.parametrize("version", ["2.31.0", "2.35.8", "2.36.0"])
def test_every_version_that_is_not_refused_has_all_that_is_asked(
    worked_on: Path, old_git: Path, cli: CommandLine, version: str
) -> None:
    # given
    git(worked_on, "worktree", "add", "--quiet", "-b", "feat/a", str(worked_on.parent / "feat a"))
    git(worked_on, "worktree", "lock", str(worked_on.parent / "feat a"))
    before = answers(worked_on)
    # when
    old_git.write_text(version)
    run_git._version.cache_clear()
    # then
    assert answers(worked_on) == before
    assert reader.place(worked_on).is_main
    assert reader.has_commit(worked_on, "HEAD") is False
    assert cli("sync", worked_on.parent).code == 0


def test_a_git_too_old_is_refused_in_one_line(tmp_path: Path, old_git: Path, cli: CommandLine) -> None:
    checkout(tmp_path / "code" / "engine", ORIGIN)
    old_git.write_text("2.25.1")
    done = cli("sync", tmp_path / "code")
    assert done.code == 1
    assert done.err == (
        f"imi-registry: cannot read checkouts: git 2.31 or later is needed, {old_git.parent / 'git'} is 2.25\n"
    )
