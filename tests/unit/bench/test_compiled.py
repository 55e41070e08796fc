"""What is timed is compiled, also where Python is told to write no bytecode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.processes import environment

COMPILE = "from benchmarks.harness.compiled import compile_ours; compile_ours()"


def test_modules_are_compiled_where_python_is_told_to_write_no_bytecode(tmp_path: Path) -> None:
    settings = environment(PYTHONDONTWRITEBYTECODE="1", PYTHONPYCACHEPREFIX=str(tmp_path))
    subprocess.run([sys.executable, "-c", COMPILE], env=settings, check=True)
    found = {path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")}
    assert found >= {"client", "sender", "settings", "drain"}
