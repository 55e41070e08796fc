"""A disk of a test's own that can be full: a file system in memory, where one can be mounted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from tests.support.services import scratch_directory

ROOMY = "8g"
"""What a disk may take; it takes what is on it."""
CHUNK_BYTES = 64 * 1024
SPARE_KIB = 1024
FILLER = "filler"


class Disk:
    """A file system; `disk` mounts it. As root only, see `can_mount`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave no room on it."""
        while not self._shrunk():
            pass  # something was written meanwhile
        with (self.folder / FILLER).open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(CHUNK_BYTES))

    def make_room(self) -> None:
        """Let it have room again."""
        _mount(self.folder, f"remount,size={ROOMY}")
        (self.folder / FILLER).unlink(missing_ok=True)

    def _shrunk(self) -> bool:
        found = os.statvfs(self.folder)
        used_kib = (found.f_blocks - found.f_bfree) * found.f_frsize // 1024
        return _mount(self.folder, f"remount,size={used_kib + SPARE_KIB}k")


@contextmanager
def disk(folder: Path, size: str = ROOMY) -> Iterator[Disk]:
    """A new folder with a disk of its own under it, of a `size` as `mount` has it."""
    folder.mkdir()
    assert _mount(folder, f"size={size},mode=755")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@cache
def can_mount() -> bool:
    """Whether a file system can be mounted here."""
    with scratch_directory() as folder:
        if not _mount(folder, "size=1m"):
            return False
        subprocess.run(["umount", str(folder)], check=True)
        return True


def _mount(folder: Path, options: str) -> bool:
    try:
        command = ["mount", "-t", "tmpfs", "-o", options, "imi-test", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
