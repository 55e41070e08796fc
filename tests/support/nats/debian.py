"""The nats-server of Debian 12, which is older than any in a wheel, and too old for the registry."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

VERSION = "2.9"


@cache
def nats_binary_of_debian() -> Path:
    """The executable; fetched once per machine. Skips the test where it cannot be had, or is another version."""
    kept = Path(tempfile.gettempdir()) / f"imi-nats-server-debian-{VERSION}"
    if not kept.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            pytest.skip("no Debian")
        with tempfile.TemporaryDirectory() as folder:
            _run("apt-get", "download", "nats-server", folder=folder)
            (package,) = Path(folder).glob("*.deb")
            _run("dpkg-deb", "-x", str(package), "unpacked", folder=folder)
            unfinished = kept.with_suffix(".new")
            shutil.copy2(Path(folder) / "unpacked/usr/sbin/nats-server", unfinished)
            unfinished.replace(kept)
    said = subprocess.run([kept, "--version"], capture_output=True, text=True, check=True).stdout
    if f"v{VERSION}." not in said:
        pytest.skip(f"Debian has {said.strip()}")
    return kept


def _run(*command: str, folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nats-server of Debian cannot be fetched: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
