"""CPU time of other processes, as the kernel counts it."""

from __future__ import annotations

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


def tree_seconds(process_id: int) -> float:
    """CPU seconds of a process and its descendants, those that ended and were waited for included; 0 when it is gone.

    In hundredths of a second. What a descendant used that was killed with its parent is not known.
    """
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(process_id)
        while True:
            family = [process, *process.children(recursive=True)]
            spent = sum(map(_own_seconds, family))
            if set(family) == {process, *process.children(recursive=True)}:  # nobody handed his on meanwhile
                return spent
    return 0.0


def _own_seconds(process: psutil.Process) -> float:
    """Of this process, and of those that it has waited for."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0
