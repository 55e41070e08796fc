"""`imi-registry` as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.servers.scratch import scratch_root

COMMAND = [sys.executable, "-m", "publisher"]


def environment(**variables: str) -> dict[str, str]:
    """The environment of a command: no setting of the caller's, a terminal of 80 columns, and `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMI_", "DATABASE_", "NATS_"))}
    root = str(Path(__file__).parents[2])
    own = {"COLUMNS": "80", "PYTHONPATH": root, "TERM": "dumb", "TMPDIR": str(scratch_root())}
    return kept | own | variables


def run(
    *arguments: str, cwd: Path | None = None, stdin: str | None = None, seconds: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, which is to come within `seconds`, with `variables` set."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment(**variables),
        check=False,
    )


def peak_mib(pid: int) -> float:
    """The most memory that a process has had, in MiB."""
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(peak) / 1024
