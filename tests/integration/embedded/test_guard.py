"""The guard of an embedded server: it ends it whatever happens, says what failed, and cuts its log."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import psutil
import pytest

from publisher.embedded import guard
from tests.support.services import wait_until


@contextmanager
def under_guard(state_dir: Path, command: list[str], *stop: tuple[int, float]) -> Iterator[subprocess.Popen[bytes]]:
    with (state_dir / "lock").open("w") as lock, (state_dir / "log").open("a+b") as log:
        folder = os.open(state_dir, os.O_RDONLY)
        task = guard.Task(command, str(state_dir / "log"), folder, lock.fileno(), list(stop))
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, json.dumps(task.__dict__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=(lock.fileno(), folder),
        )
        os.close(folder)
    with process:
        yield process


def test_guard_kills_a_server_that_ignores_every_request(state_dir):
    stubborn = "trap '' INT TERM; echo ready; exec sleep 60"
    with under_guard(state_dir, ["sh", "-c", stubborn], (2, 0.05), (15, 0.05)) as process:
        server = psutil.Process(int(process.stdout.readline()))
        wait_until(lambda: "ready" in (state_dir / "log").read_text())
        process.stdin.close()
        try:
            assert process.wait(10) == 128 + 9
            assert not server.is_running()
        finally:
            process.kill()
            with suppress(psutil.NoSuchProcess):
                server.kill()


def test_guard_that_cannot_run_the_server_says_so(state_dir):
    with under_guard(state_dir, [str(state_dir / "nothing")], (15, 1)) as process:
        assert process.wait(10) == 127
    assert "nothing: No such file or directory" in (state_dir / "log").read_text()


def test_log_is_cut_when_it_is_too_long(state_dir, monkeypatch):
    monkeypatch.setattr(guard, "LOG_LIMIT_BYTES", 10)
    path = state_dir / "log"
    folder = os.open(state_dir, os.O_RDONLY)
    with path.open("a+b") as log:
        log.write(b"0123456789")
        log.flush()
        guard._cut("log.1", folder, log.fileno())
        assert path.read_bytes() == b"0123456789"
        log.write(b"!")
        log.flush()
        guard._cut("log.1", folder, log.fileno())
        log.write(b"new")
    os.close(folder)
    assert path.read_bytes() == b"new"
    assert (state_dir / "log.1").read_bytes() == b"0123456789!"


@pytest.mark.parametrize("hindered", ["a full disk", "a folder in its place", "its own folder is gone"])
def test_log_that_cannot_be_kept_is_cut_all_the_same(hindered, state_dir, monkeypatch):
    monkeypatch.setattr(guard, "LOG_LIMIT_BYTES", 1000)
    logs = state_dir / "logs"
    logs.mkdir()
    folder = os.open(logs, os.O_RDONLY)
    path = state_dir / "log"
    with path.open("a+b") as log:
        log.write(b"line\n" * 500)
        log.flush()
        if hindered == "a folder in its place":
            (logs / "log.1").mkdir()
        elif hindered == "its own folder is gone":
            logs.rmdir()
        with most_bytes_a_file(1500) if hindered == "a full disk" else nullcontext():
            guard._cut("log.1", folder, log.fileno())
    os.close(folder)
    assert path.read_text().startswith("error: cannot keep the lines before this one as log.1: ")
    assert not (logs / "log.1").is_file()


@contextmanager
def most_bytes_a_file(most: int) -> Iterator[None]:
    """A disk that takes so many bytes of a file: the next write fails, as it does on a full one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
