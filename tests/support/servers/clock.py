"""A clock that jumps, for PostgreSQL or a service: by Debian's package `libfaketime`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import pytest

from publisher.embedded.binaries import postgres_binaries

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
"""None where the package is not installed."""
needs_faketime = pytest.mark.skipif(LIBRARY is None, reason="needs Debian's package libfaketime")


class Clock:
    """The time that a PostgreSQL out of `binaries` sees, but for what it measures durations with.

    Or that a process with `variables` in its environment sees; durations, too, where it `is_for_durations`.
    """

    def __init__(self, directory: Path, *, is_for_durations: bool = False) -> None:
        self._file = directory / "clock"
        self._ahead_seconds = 0
        self.jump(0)
        self.variables = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
        }
        if not is_for_durations:
            self.variables["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
        self.binaries = self._wrapped(directory / "bin") if LIBRARY is not None else postgres_binaries()
        """Folder of its programs; without the library they see the real time."""

    def jump(self, seconds: int) -> None:
        """Be so far ahead of the real time, or behind it, from about a second on."""
        self._ahead_seconds = seconds
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}s\n")
        fresh.chmod(0o644)
        fresh.replace(self._file)

    def go_on(self, seconds: int) -> None:
        """Let so much time go by, beside what does."""
        self.jump(self._ahead_seconds + seconds)

    def _wrapped(self, folder: Path) -> Path:
        """The programs, of which the server starts under the library. Its guard does not: it would not sleep there."""
        folder.mkdir()
        for program in postgres_binaries().iterdir():
            (folder / program.name).symlink_to(program)
        server = folder / "postgres"
        server.unlink()
        exports = "".join(f"export {name}={quote(value)}\n" for name, value in self.variables.items())
        server.write_text(f'#!/bin/sh\n{exports}exec {quote(str(postgres_binaries() / "postgres"))} "$@"\n')
        server.chmod(0o755)
        return folder
