"""What the command line takes from its surroundings: who acts, which registry is meant, what the shell completes."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest

from tests.support.commandline import CommandLine, command_line
from tests.support.outbox_reader import events


def test_events_name_the_actor(
    cli: CommandLine, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli("project", "register", "--origin", "git@github.com:ada/one.git")
    cli("project", "register", "--origin", "git@github.com:ada/two.git", "--actor", "ada")
    monkeypatch.setenv("IMI_ACTOR", "bob")
    cli("project", "register", "--origin", "git@github.com:ada/three.git")
    assert [actor for _, _, actor in events(database)] == [getpass.getuser(), "ada", "bob"]


def test_without_a_url_the_registry_of_a_running_up_is_used(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # given
    (tmp_path / "endpoints.json").write_text(json.dumps({"database_url": database, "nats_url": "nats://x"}))
    cli = command_line(monkeypatch, capsys, IMI_STATE_DIR=str(tmp_path))
    # then
    assert cli("stats", "--json").json["total_projects"] == 0
    # when
    (tmp_path / "endpoints.json").write_text("{")
    # then
    done = cli("stats")
    assert (done.code, done.err.splitlines()) == (
        1,
        [f'imi-registry: "{tmp_path / "endpoints.json"}" is not what imi-registry up writes; start it anew'],
    )


def test_completion_knows_the_commands(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_IMI_REGISTRY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "imi-registry work")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert cli().out.split() == ["worktree"]
