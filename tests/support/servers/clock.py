"""A clock that jumps, for PostgreSQL: by Debian's package `libfaketime`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from publisher.embedded.binaries import postgres_binaries

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
"""None where the package is not installed."""


class Clock:
    """The time that a PostgreSQL out of `binaries` sees, but for what it measures durations with."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.jump(0)
        self.binaries = self._wrapped(directory / "bin") if LIBRARY is not None else postgres_binaries()
        """Folder of its programs; without the library they see the real time."""

    def jump(self, seconds: int) -> None:
        """Be so far ahead of the real time, or behind it, from about a second on."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}s\n")
        fresh.chmod(0o644)
        fresh.replace(self._file)

    def _wrapped(self, folder: Path) -> Path:
        """The programs, of which the server starts under the library. Its guard does not: it would not sleep there."""
        folder.mkdir()
        for program in postgres_binaries().iterdir():
            (folder / program.name).symlink_to(program)
        server = folder / "postgres"
        server.unlink()
        variables = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        exports = "".join(f"export {name}={quote(value)}\n" for name, value in variables.items())
        server.write_text(f'#!/bin/sh\n{exports}exec {quote(str(postgres_binaries() / "postgres"))} "$@"\n')
        server.chmod(0o755)
        return folder
