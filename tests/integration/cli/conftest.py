"""What the tests of this room have in common: the command line in an empty folder, on a database of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commandline import CommandLine, command_line


@pytest.fixture
def cli(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys, DATABASE_URL=database)
