"""Lines of the documentation, run by a shell that finds PostgreSQL's programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from publisher.embedded.binaries import postgres_binaries


def shell(command: str, folder: Path, **variables: str) -> None:
    """Run `command` in `folder` with these variables alone; fails with what it said where it fails."""
    path = f"{postgres_binaries()}:/usr/bin:/bin"
    line = ["/bin/sh", "-c", command]
    done = subprocess.run(line, cwd=folder, env={"PATH": path} | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
