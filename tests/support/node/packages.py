"""Packages of npm's that tests use: those of a lock file, installed once."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path


def install(project: Path) -> None:
    """Install what the lock file in `project` names, unless it is there; as many workers as like may come at once."""
    installed, lock = project / "node_modules/.package-lock.json", project / "package-lock.json"
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            run("npm", "ci", folder=project)
            os.utime(installed)


def run(*command: str, folder: Path) -> None:
    """Run a command to its end, which must be good."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
