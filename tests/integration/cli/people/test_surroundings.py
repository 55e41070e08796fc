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


def test_config_show_names_the_running_up_whose_urls_take_the_place_of_variables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "endpoints.json").write_text('{"database_url": "postgresql:///up", "nats_url": "nats://up"}')
    cli = command_line(
        monkeypatch,
        capsys,
        DATABASE_URL="postgresql:///x",
        IMI_APPLIER_DATABASE_URL="postgresql:///y",
        NATS_URL="nats://up",
        IMI_NATS_USER="ada",
        IMI_PREFIX="other",
    )
    shown = cli("config", "show", "--state-dir", tmp_path, "--json").json
    assert shown["database_url"] == {"value": "postgresql:///up", "from": "a running up"}
    assert shown["applier_database_url"] == shown["nats_user"] == {"value": None, "from": "not used"}
    assert shown["nats_url"]["from"] == "NATS_URL", "it is the same"
    assert shown["prefix"] == {"value": "other", "from": "IMI_PREFIX"}
    shown = cli("config", "show", "--database-url", "postgresql:///z", "--json").json
    assert shown["database_url"]["from"] == "argument"
    assert shown["applier_database_url"] == {"value": None, "from": "not used"}


def test_completion_knows_the_commands(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_IMI_REGISTRY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "imi-registry work")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert cli().out.split() == ["worktree"]
