"""Who ends the suite ends all of its servers."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.processes import environment
from tests.support.services import wait_until

SUITE = [sys.executable, "-m", "tests.faults.suite", "--faults", "1000", "--history"]
PATIENCE_SECONDS = 120.0


def test_sigterm_ends_every_server_that_the_suite_has_started(tmp_path: Path) -> None:
    suite = subprocess.Popen([*SUITE, str(tmp_path)], env=environment(), stdout=subprocess.DEVNULL)
    started: dict[psutil.Process, str] = {}
    try:
        wait_until(lambda: {"nats-server", "postgres"} <= set(noted(suite, started).values()), PATIENCE_SECONDS)

        suite.send_signal(signal.SIGTERM)

        wait_until(lambda: noted(suite, started) and suite.poll() is not None, PATIENCE_SECONDS)
        wait_until(lambda: not any(map(is_there, started)), PATIENCE_SECONDS)
        assert suite.returncode != 0
    finally:
        suite.kill()
        suite.wait()
        for process in filter(is_there, started):
            process.kill()


def noted(suite: subprocess.Popen[bytes], started: dict[psutil.Process, str]) -> dict[psutil.Process, str]:
    """Add what the suite has started, and what that has, to `started`, with its name."""
    if suite.poll() is None:
        for process in psutil.Process(suite.pid).children(recursive=True):
            try:
                started[process] = process.name()
            except psutil.NoSuchProcess:
                continue
    return started


def is_there(process: psutil.Process) -> bool:
    """Whether it runs: one whose end its parent has not noticed yet does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
