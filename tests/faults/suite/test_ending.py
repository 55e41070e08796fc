"""Who ends the suite ends all of its servers; a run that is not clean, or is ended, leaves its history."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.faults.suite import results
from tests.faults.suite.__main__ import conclude
from tests.faults.suite.judging.noting import A1, A2
from tests.faults.suite.run import Outcome
from tests.faults.suite.test_suite import noted as judged
from tests.support.processes import environment
from tests.support.services import wait_until

SUITE = [sys.executable, "-m", "tests.faults.suite", "--faults", "1000", "--history"]
PATIENCE_SECONDS = 120.0


def test_sigterm_ends_every_server_that_the_suite_has_started(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with told.open("w") as output:
        suite = subprocess.Popen([*SUITE, str(tmp_path)], env=environment(), stdout=output)
    started: dict[psutil.Process, str] = {}
    try:
        wait_until(lambda: {"nats-server", "postgres"} <= set(noted(suite, started).values()), PATIENCE_SECONDS)

        suite.send_signal(signal.SIGTERM)

        wait_until(lambda: noted(suite, started) and suite.poll() is not None, PATIENCE_SECONDS)
        wait_until(lambda: not any(map(is_there, started)), PATIENCE_SECONDS)
        assert suite.returncode != 0
        seed = told.read_text().split()[1].rstrip(":")
        assert told.read_text().startswith(f"seed {seed}: 1000 faults; history in {tmp_path / seed}")
        assert (tmp_path / seed).is_dir()
    finally:
        suite.kill()
        suite.wait()
        for process in filter(is_there, started):
            process.kill()


@pytest.mark.parametrize("is_lost", [True, False], ids=["an event is lost", "clean"])
def test_a_run_that_is_not_clean_keeps_its_history_and_says_where_and_of_which_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_lost: bool
) -> None:
    folder = tmp_path / "history"
    verdict = judged(folder, committed=[A1, A2], told=[A1] if is_lost else [A1, A2])
    outcome = Outcome("5eed", {"some fault": 1}, {}, {"some fault": 0.1}, 1.0, 2, 0, verdict)

    assert conclude(results.of(outcome, "abc"), outcome, folder) is not is_lost

    assert folder.exists() is is_lost
    assert (f"seed 5eed: history kept in {folder}" in capsys.readouterr().out) is is_lost


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
