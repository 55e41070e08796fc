"""CPU time of other processes, as the kernel counts it. It never falls: of a process that is gone there is none."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

OF_PROCESS = 2
"""The clock of all threads of a process, in Linux's numbers of clocks (CPUCLOCK_SCHED)."""


def process_seconds(process_id: int) -> float:
    """CPU seconds that a process has used so far, its threads that ended included.

    Raises `ProcessLookupError` for a process that is gone.
    """
    try:
        return time.clock_gettime(~process_id << 3 | OF_PROCESS)  # as clock_getcpuclockid() does
    except OSError as error:
        raise ProcessLookupError(f"process {process_id} is gone") from error


def tree_seconds(process_id: int) -> float:
    """CPU seconds of a process and its descendants, those that ended and were waited for included.

    In hundredths of a second. What a descendant used that was killed with its parent is not known. Raises
    `ProcessLookupError` for a process that is gone.
    """
    try:
        process = psutil.Process(process_id)
        while True:
            family = [process, *process.children(recursive=True)]
            spent = sum(map(_own_seconds, family))
            if set(family) == {process, *process.children(recursive=True)}:  # nobody handed his on meanwhile
                return spent
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(f"process {process_id} is gone") from error


def _own_seconds(process: psutil.Process) -> float:
    """Of this process, and of those that it has waited for."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0
