"""What the tests of this room have in common: no configuration of this machine, and the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.commandline import CommandLine, command_line


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
