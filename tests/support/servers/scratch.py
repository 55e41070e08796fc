"""Where tests write: in memory while it has room, for making files is what takes most of their time."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")  # noqa: S108  # every name in it is made by tempfile
LEAST_FREE_BYTES = 4 * 1024**3
"""A whole run was seen to take 1.4 GB at once."""


@cache
def scratch_root() -> Path:
    """Where new scratch directories belong: in memory, unless there is none to spare or TMPDIR says where.

    A database is a thousand files: to copy one takes a tenth of the CPU time there.
    """
    disk = Path(tempfile.gettempdir())
    if os.environ.get("TMPDIR") or not MEMORY.is_dir():
        return disk
    found = os.statvfs(MEMORY)
    if found.f_flag & os.ST_NOEXEC:  # as in Docker; tests run programs that they copy or write
        return disk
    free = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available)
    return MEMORY if free >= LEAST_FREE_BYTES else disk
