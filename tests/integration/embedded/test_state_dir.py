"""Whose the state directory is, and which folders commands believe."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from publisher.embedded import account
from publisher.embedded.state_dir import owned, secret
from registry.errors import Invalid
from tests.support.commandline import CommandLine, command_line

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make files of another user")
SOMEBODY = 12345
URL = "setting database_url: missing"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """The command line in an empty folder, without any URL."""
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys)


@contextmanager
def running(folder: Path, database: str) -> Iterator[None]:
    """What an `up` in `folder` holds and writes."""
    folder.mkdir(mode=0o700, exist_ok=True)
    with owned(folder):
        write_endpoints(folder, database)
        yield


def write_endpoints(folder: Path, database: str) -> None:
    (folder / "endpoints.json").write_text(json.dumps({"database_url": database, "nats_url": "nats://127.0.0.1:1"}))


def of_another_user(folder: Path) -> None:
    os.chown(folder, SOMEBODY, SOMEBODY)


def with_a_file_of_another_user(folder: Path) -> None:
    (folder / "nats.token").write_text("his")
    os.chown(folder / "nats.token", SOMEBODY, SOMEBODY)


def with_a_link_of_another_user(folder: Path) -> None:
    (folder / "postgres").symlink_to("/tmp")  # noqa: S108  # any folder
    os.chown(folder / "postgres", SOMEBODY, SOMEBODY, follow_symlinks=False)


@AS_ROOT
@pytest.mark.parametrize("made", [of_another_user, with_a_file_of_another_user, with_a_link_of_another_user])
def test_a_folder_that_another_user_made_is_refused(state_dir: Path, made: Callable[[Path], None]) -> None:
    made(state_dir)
    with pytest.raises(Invalid, match=rf"belongs to another user \(uid {SOMEBODY}\)"), owned(state_dir):
        pass


@AS_ROOT
def test_files_of_the_account_that_runs_postgres_for_root_are_ours(state_dir: Path) -> None:
    nobody = account._nobody()
    (state_dir / "run").mkdir()
    os.chown(state_dir / "run", nobody.uid, nobody.gid)
    with owned(state_dir):
        pass


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777, 0o722])
def test_a_folder_that_others_may_write_in_is_refused(state_dir: Path, mode: int) -> None:
    state_dir.chmod(mode)
    with pytest.raises(Invalid, match=f"other users may write in it .mode {mode:04o}."), owned(state_dir):
        pass


def test_a_secret_that_others_may_read_is_refused(state_dir: Path) -> None:
    secret(state_dir / "nats.token")
    (state_dir / "nats.token").chmod(0o644)
    with pytest.raises(Invalid, match="other users may read or write it"):
        secret(state_dir / "nats.token")


def test_data_commands_use_the_up_of_the_folder_they_are_given(
    cli: CommandLine, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a database that is down in the environment, and one that runs
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/x")
    with running(tmp_path / "state", database):
        # then
        assert cli("stats", "--state-dir", tmp_path / "state").code == 0
        assert cli("migrate", "status", "--state-dir", tmp_path / "state", "--json").code == 0
        assert cli("maintain", "vacuum", "--state-dir", tmp_path / "state").code == 0
        assert cli("stats").code == 3


def test_an_up_in_the_current_folder_is_used(cli: CommandLine, database: str) -> None:
    with running(Path(".imi"), database):
        assert cli("stats").code == 0
        assert cli("migrate").out == "nothing to apply\n"
    refused = cli("stats")
    assert refused.code == 1
    assert 'state directory ".imi": no imi-registry up runs there' in refused.err


@pytest.mark.parametrize("with_lock_file", [False, True])
def test_a_repository_that_ships_a_state_directory_redirects_nobody(
    cli: CommandLine, database: str, with_lock_file: bool
) -> None:
    Path(".imi").mkdir(mode=0o700)
    write_endpoints(Path(".imi"), database)
    if with_lock_file:
        Path(".imi/owner.lock").write_text(f"{os.getpid()}\n")
    refused = cli("stats")
    assert (refused.code, refused.out) == (1, "")
    assert "no imi-registry up runs there" in refused.err


def elsewhere(tmp_path: Path) -> Path:
    """The state directory of another installation of ours, in use."""
    return tmp_path / "home" / "other"


def as_a_link(brought: Path, other: Path) -> None:
    brought.symlink_to(other)


def with_the_lock_of_another(brought: Path, other: Path) -> None:
    brought.mkdir(mode=0o700)
    (brought / "owner.lock").symlink_to(other / "owner.lock")


def with_a_mark_of_another(brought: Path, other: Path) -> None:
    shutil.copytree(other, brought)


def with_a_pipe_for_a_lock(brought: Path, other: Path) -> None:
    brought.mkdir(mode=0o700)
    os.mkfifo(brought / "owner.lock")


BROUGHT = [as_a_link, with_the_lock_of_another, with_a_mark_of_another, with_a_pipe_for_a_lock]


@pytest.mark.parametrize("brought", BROUGHT)
def test_what_a_repository_brings_is_neither_believed_nor_started(
    cli: CommandLine, database: str, tmp_path: Path, brought: Callable[[Path, Path], None]
) -> None:
    # given a folder of somebody else's making, with data, secrets and a lock that is held
    other = elsewhere(tmp_path)
    other.parent.mkdir()
    with running(other, database):
        brought(Path(".imi"), other)
        if not Path(".imi").is_symlink():
            (Path(".imi") / "postgres").mkdir()
            write_endpoints(Path(".imi"), database)
        # then
        for command in (["stats"], ["events", "tail"], ["up"], ["events", "import", "/dev/null"], ["rebuild-stream"]):
            refused = cli(*command)
            assert (refused.code, refused.out) == (1, "")
            assert '".imi"' in refused.err
            assert len(refused.err.splitlines()) == 1


def an_endless_file(file: Path) -> None:
    file.symlink_to("/dev/zero")


def a_pipe(file: Path) -> None:
    os.mkfifo(file, 0o600)


def bytes_that_are_no_text(file: Path) -> None:
    file.write_bytes(b"\xff{")
    file.chmod(0o600)


def a_large_file(file: Path) -> None:
    file.touch(0o600)
    os.truncate(file, 2**40)


ODD = [an_endless_file, a_pipe, bytes_that_are_no_text, a_large_file]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["endpoints.json", "owner.lock"])
def test_what_a_repository_brings_in_place_of_a_file_is_refused_in_one_line(
    cli: CommandLine, name: str, odd: Callable[[Path], None]
) -> None:
    Path(".imi").mkdir(mode=0o700)
    write_endpoints(Path(".imi"), "postgresql:///x")
    (Path(".imi") / name).unlink(missing_ok=True)
    odd(Path(".imi") / name)
    for command in (["stats"], ["events", "tail"], ["up"]):
        refused = cli(*command)
        assert (refused.code, refused.out, len(refused.err.splitlines())) == (1, "", 1)
        assert ".imi" in refused.err


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_file_in_a_folder_that_is_named_is_refused(
    cli: CommandLine, database: str, tmp_path: Path, odd: Callable[[Path], None]
) -> None:
    odd(tmp_path / "nats.token")
    with pytest.raises((Invalid, OSError)):
        secret(tmp_path / "nats.token")
    with running(tmp_path / "state", database):
        (tmp_path / "state" / "endpoints.json").unlink()
        odd(tmp_path / "state" / "endpoints.json")
        refused = cli("stats", "--state-dir", tmp_path / "state")
        assert (refused.code, len(refused.err.splitlines())) == (1, 1)
        assert "endpoints.json" in refused.err or "symbolic link" in refused.err


def test_a_pipe_is_no_lock_of_an_owner(state_dir: Path) -> None:
    os.mkfifo(state_dir / "owner.lock", 0o600)
    with pytest.raises(Invalid, match="must be a regular file"), owned(state_dir):
        pass


def test_a_state_directory_that_was_moved_is_used_once_it_is_named(
    cli: CommandLine, database: str, tmp_path: Path
) -> None:
    with running(tmp_path / "copied", database):
        shutil.copytree(tmp_path / "copied", ".imi")
    with pytest.raises(Invalid, match=r'name it once: imi-registry up --state-dir "/'), owned(Path(".imi")):
        pass
    with owned(Path(".imi").absolute()):
        pass
    with owned(Path(".imi")):
        pass


@AS_ROOT
@pytest.mark.parametrize("made", [of_another_user, with_a_file_of_another_user, with_a_link_of_another_user])
def test_a_named_state_directory_must_be_ours_too(
    cli: CommandLine, database: str, tmp_path: Path, made: Callable[[Path], None]
) -> None:
    with running(tmp_path / "state", database):
        made(tmp_path / "state")
        assert "belongs to another user" in cli("stats", "--state-dir", tmp_path / "state").err
        (tmp_path / "state").chmod(0o777)


@AS_ROOT
def test_a_state_directory_of_another_user_in_the_current_folder_is_not_used(cli: CommandLine, database: str) -> None:
    with running(Path(".imi"), database):
        os.chown(".imi", SOMEBODY, SOMEBODY)
        assert "belongs to another user" in cli("stats").err


def test_a_state_directory_that_is_named_and_is_none_is_named_in_the_message(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = tmp_path / "stopped"
    with owned(stopped):
        pass
    file = tmp_path / "file"
    file.touch()
    for folder, reason in (
        (tmp_path / "mistyped", "does not exist"),
        (stopped, "no imi-registry up runs there; start it"),
        (file, "cannot be read: Not a directory"),
    ):
        monkeypatch.setenv("IMI_STATE_DIR", str(folder))
        for done in (cli("stats"), cli("stats", "--state-dir", folder), cli("events", "tail")):
            assert done.code == 1
            assert done.err.startswith(f'imi-registry: state directory "{folder}": {reason}')


def test_a_killed_up_is_told_from_a_running_one(cli: CommandLine, tmp_path: Path, database: str) -> None:
    with owned(tmp_path / "state"):
        pass
    write_endpoints(tmp_path / "state", database)
    assert "no imi-registry up runs there" in cli("stats", "--state-dir", tmp_path / "state").err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_state_directory_that_cannot_be_read_says_so(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o000)
    assert "cannot be read: Permission denied" in cli("stats", "--state-dir", tmp_path / "state").err


@pytest.mark.parametrize("name", ["DATABASE_URL", "IMI_DATABASE_URL"])
def test_an_empty_url_is_none(cli: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    for command in (["stats"], ["migrate"], ["maintain", "vacuum"], ["serve"], ["history", "verify"]):
        assert URL in cli(*command).err
    assert URL in cli("stats", "--database-url", "").err
