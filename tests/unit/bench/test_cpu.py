"""CPU time of a tree of processes: what one of them used stays counted when it has ended."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.harness.cpu import tree_seconds

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
    assert tree_seconds(parent.pid) == 0
