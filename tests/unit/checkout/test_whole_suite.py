"""A run of all tests, as `./run test` starts it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

RUN = Path(__file__).parents[3] / "run"


def test_it_tells_what_each_test_that_it_leaves_out_lacks(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_loader("run", SourceFileLoader("run", str(RUN)))
    assert spec is not None
    assert spec.loader is not None
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    (tmp_path / "test_it.py").write_text("import pytest\ndef test(): pytest.skip('needs a tool')\n")

    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", *run.WHOLE_SUITE, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "needs a tool" in done.stdout, done.stdout + done.stderr
