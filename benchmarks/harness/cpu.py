"""CPU time of other processes, as the kernel counts it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil


def process_seconds(process_id: int) -> float:
    """CPU seconds that the threads of a process which live now have used; 0 for a process that is gone."""
    spent = 0
    for thread in Path(f"/proc/{process_id}/task").glob("*/schedstat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            spent += int(thread.read_text().split()[0])  # nanoseconds
    return spent / 1e9


def seconds_of_all() -> float:
    """CPU seconds of this process, and of all that it has started and that live: both servers with their sessions."""
    started = psutil.Process().children(recursive=True)
    return sum(map(process_seconds, [os.getpid(), *[each.pid for each in started]]))


def tree_seconds(process_id: int) -> float:
    """CPU seconds of a process and its descendants, those that ended and were waited for included; 0 when it is gone.

    In hundredths of a second. What a descendant used that was killed with its parent is not known.
    """
    spent = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(process_id)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                spent += times.user + times.system + times.children_user + times.children_system
    return spent
