"""Which paths can be a state directory, and what is told of one that cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from publisher.embedded import postgres as embedded
from publisher.embedded import process as guarded
from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from publisher.embedded.state_dir import owned
from registry.errors import Conflict, Invalid, Unavailable
from tests.support.servers.embedded import QUICK, mode, one


def test_second_owner_is_refused_and_told_who_the_first_is(state_dir):
    with owned(state_dir), pytest.raises(Conflict, match=f"in use by process {os.getpid()}$"), owned(state_dir):
        pass
    with owned(state_dir) as directory:
        assert directory == state_dir


def test_state_directory_is_made_for_its_owner_only(state_dir):
    with owned(state_dir / "deep" / "er") as directory:
        assert mode(directory) == 0o700


def test_file_is_no_state_directory(state_dir):
    (state_dir / "file").touch()
    for path in (state_dir / "file", state_dir / "file" / "below"):
        with pytest.raises(Invalid, match="not a directory"), owned(path):
            pass


def test_directory_that_cannot_be_written_is_no_state_directory():
    with pytest.raises(Invalid, match='"/proc": is not writable'), owned(Path("/proc")):
        pass


def test_path_too_long_for_a_socket_is_refused_before_anything_is_made(state_dir):
    longest = embedded.check_socket_path.__globals__["SOCKET_PATH_BYTES"] - len("/run/.s.PGSQL.5432")
    fits = state_dir / ("x" * (longest - len(str(state_dir)) - 1))
    with owned(fits), postgres(fits, settings=QUICK) as server:
        assert one(server.url, "SELECT 1") == 1
    for start in (owned, postgres):
        too_long = fits.with_name(fits.name + "x")
        with pytest.raises(Invalid, match="bytes, at most"), start(too_long):
            pass


@pytest.mark.parametrize("start", [postgres, nats_server])
def test_missing_state_directory_is_one_clear_line(state_dir, start):
    with (
        pytest.raises(Unavailable, match=r"did not start: No such file or directory: .*/gone/"),
        start(state_dir / "gone"),
    ):
        pass


def test_comma_in_the_path_is_refused_because_clients_split_there(state_dir):
    with pytest.raises(Invalid, match="has a comma"), owned(state_dir / "a,b"):
        pass


def test_a_path_that_is_no_text_is_refused_before_anything_is_made(state_dir):
    folder = state_dir / os.fsdecode(b"caf\xe9")
    with pytest.raises(Invalid, match="is not UTF-8"), owned(folder):
        pass
    assert not folder.exists()


def test_missing_binaries_are_named(state_dir):
    with (
        pytest.raises(Unavailable, match=r'no program "postgres" in ".*/nowhere"'),
        postgres(state_dir, bin_dir=state_dir / "nowhere"),
    ):
        pass
    with (
        pytest.raises(Unavailable, match=r'program ".*/nowhere" does not exist'),
        nats_server(state_dir, binary=state_dir / "nowhere"),
    ):
        pass


def test_server_is_refused_while_another_one_has_its_files(state_dir, monkeypatch):
    monkeypatch.setattr(guarded, "PREDECESSOR_SECONDS", 0.0)
    with nats_server(state_dir), pytest.raises(Conflict, match="its nats-server is still running"):
        nats_server(state_dir).__enter__()
