"""The guard of an embedded server: it ends it whatever happens, says what failed, and cuts its log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

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
