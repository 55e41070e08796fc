"""`sync` where a named pipe lies in place of a file that git reads: git would wait for it without an end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from publisher.checkouts import git as reader
from publisher.checkouts import origins, run_git
from registry.errors import Unusable
from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout, git, linked
from tests.support.git.syncing import sync, worktrees


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_git, "PATIENCE_SECONDS", 0.1)


def at(path: str) -> Callable[[Path], Path]:
    """In place of a file of the repository."""

    def made(main: Path) -> Path:
        pipe = main / path
        pipe.parent.mkdir(parents=True, exist_ok=True)
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        return pipe

    return made


def named_by(setting: str, value: str = "pipe") -> Callable[[Path], Path]:
    """Outside of the repository, named by a setting of it."""

    def made(main: Path) -> Path:
        pipe = main.parent.parent / f"{main.name} {value}"
        os.mkfifo(pipe)
        git(main, "config", setting, str(pipe))
        return pipe

    return made


def behind_an_include(main: Path) -> Path:
    pipe, included = main.parent.parent / "behind", main / ".git" / "included"
    os.mkfifo(pipe)
    git(main, "config", "--file", str(included), "core.excludesFile", str(pipe))
    git(main, "config", "include.path", "included")
    return pipe


def behind_a_link(main: Path) -> Path:
    pipe, exclude = main.parent.parent / "linked", main / ".git" / "info" / "exclude"
    os.mkfifo(pipe)
    exclude.unlink(missing_ok=True)
    exclude.symlink_to(pipe)
    return exclude


def of_a_changed_file(main: Path) -> Path:
    changed = main / "0.txt"
    changed.write_text("Commit 1")  # as long as it was: its text is compared, as its attributes say
    os.utime(changed, (0, 0))  # whatever a clock that was set back has given to it
    return at(".gitattributes")(main)


PLACES = {
    "a .gitignore": at(".gitignore"),
    "one in a folder": at("deep/er/.gitignore"),
    "attributes": of_a_changed_file,
    "exclude": at(".git/info/exclude"),
    "config": at(".git/config"),
    "HEAD": at(".git/HEAD"),
    "index": at(".git/index"),
    "a branch": at(".git/refs/heads/other"),
    "excludesFile": named_by("core.excludesFile"),
    "an include": named_by("include.path"),
    "in an include": behind_an_include,
    "a link": behind_a_link,
}


def test_a_named_pipe_that_git_would_wait_for_is_named_and_the_others_go_on(cli: CommandLine, code: Path) -> None:
    # given
    pipes = {}
    for number, (name, made) in enumerate(PLACES.items()):
        pipes[name] = made(checkout(code / name, f"git@github.com:ada/engine-{number}.git"))
    well = checkout(code / "zzz", ORIGIN)
    # when
    rows = sync(cli, code, exit_code=1)
    # then
    assert rows["zzz", "worktree"] == ("registered", "main")
    told = {path: detail for (path, _), (outcome, detail) in rows.items() if outcome == "failed"}
    assert told == {
        name: f'"{code / name}": git waits for "{pipe}", which is a named pipe and no file; remove it'
        for name, pipe in pipes.items()
    }
    assert worktrees(cli)[str(well)]["uncommitted_files_count"] == 0


def test_a_pipe_of_the_users_own_configuration_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    main = checkout(tmp_path / "engine", ORIGIN)
    feature = linked(main, tmp_path / "feat-x", "feat/x")
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    ignored = Path(os.environ["HOME"]) / ".config" / "git" / "ignore"
    ignored.parent.mkdir(parents=True)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    os.mkfifo(ignored)
    # then
    for folder in (main, feature):
        with pytest.raises(Unusable, match=f'git waits for "{ignored}"'):
            run_git.run(folder, "status", "--porcelain", at_most=folder)


def test_a_pipe_that_git_does_not_read_is_no_matter(tmp_path: Path) -> None:
    main = checkout(tmp_path / "engine", ORIGIN)
    for path in ("pipe", ".git/hooks/pipe", "deep/pipe"):
        at(path)(main)
    assert run_git.run(main, "status", "--porcelain", at_most=main) == ""


def test_a_pipe_of_names_of_people_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = checkout(tmp_path / "engine", ORIGIN)
    git(main, "branch", "--move", "trunk")
    at(".mailmap")(main)
    monkeypatch.setattr(run_git, "TIMEOUT_SECONDS", 2.0)
    assert reader.was_on(main, "main")
    assert reader.repository(main, "main").default_branch == "trunk"


def test_an_ssh_configuration_that_is_a_pipe_is_none(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    os.mkfifo(tmp_path / ".ssh" / "config")
    assert origins.on_github("git@work:ada/engine.git", tmp_path) == "git@work:ada/engine.git"
