"""What the tests of this room have in common: no configuration of this machine, the command line, and checkouts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.commandline import CommandLine, command_line
from tests.support.git.repositories import ORIGIN, checkout, commit, git
from tests.support.git.traps import Traps


@pytest.fixture(autouse=True)
def plain_configuration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def cli(database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(monkeypatch, capsys, DATABASE_URL=database)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The folder that is synced."""
    folder = tmp_path / "my code"
    folder.mkdir()
    return folder


@pytest.fixture
def traps(tmp_path: Path) -> Traps:
    return Traps(tmp_path / "traps")


@pytest.fixture
def worked_on(tmp_path: Path) -> Path:
    """A checkout in which every kind of thing is going on."""
    main = checkout(tmp_path / "engine", ORIGIN)
    for name in ("kept", "renamed", "removed"):
        (main / name).write_text(f"{name}\n" * 20)
    commit(main, "Größe «1»\n\nMore")
    (main / "stashed").write_text("x")
    git(main, "stash", "--quiet", "--include-untracked")
    git(main, "mv", "renamed", "renamed to")
    (main / "removed").unlink()
    (main / "kept").chmod(0o755)
    for name in ("a\u2028b", "c\u0085d", "line\nbreak", 'quo"te', "tab\t", "größe", " blank ", "-> arrow", "2 R"):
        (main / name).write_text("new")
    (main / "folder").mkdir()
    (main / "folder" / "file").write_text("new")
    return main
