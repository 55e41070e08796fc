"""CPU time of other processes: what a child or a thread used stays counted when it has ended, so none ever falls."""

from __future__ import annotations

import os
import subprocess
import sys
from threading import Thread
from time import thread_time

import pytest

from benchmarks.harness.cpu import process_seconds, tree_seconds

WORK_SECONDS = 0.2
TICK_SECONDS = 0.01
"""What the system counts the time of processes in."""
PARENT = f"""
import subprocess, sys
WORK = "import time\\nwhile time.process_time() < {WORK_SECONDS}: pass"
subprocess.run([sys.executable, "-c", WORK], check=True)
print("waited for", flush=True)
sys.stdin.read()
"""


def test_what_a_process_used_that_ended_is_not_lost() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"waited for\n"
        assert tree_seconds(parent.pid) >= WORK_SECONDS - 2 * TICK_SECONDS  # of user and of system
        parent.communicate()
    for seconds in (tree_seconds, process_seconds):
        with pytest.raises(ProcessLookupError, match=rf"^process {parent.pid} is gone$"):
            seconds(parent.pid)


def test_what_a_thread_used_that_ended_is_not_lost() -> None:
    def work() -> None:
        began = thread_time()
        while thread_time() - began < WORK_SECONDS:
            pass

    before = process_seconds(os.getpid())
    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert process_seconds(os.getpid()) - before >= WORK_SECONDS
