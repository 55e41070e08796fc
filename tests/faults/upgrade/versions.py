"""Versions of the code side by side on one registry: each in a folder, its processes with nothing of another."""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.processes import COMMAND, environment
from tests.support.relay_process import ServiceProcess
from tests.support.world import World

ROOT = Path(__file__).parents[3]
PACKAGES = ("registry", "publisher", "migrations", "schemas")
"""What a version consists of."""


def copied(folder: Path) -> Path:
    """The code of today, to be changed."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def earlier(commit: str, knows: int, folder: Path) -> Path:
    """The code of an earlier commit, which knows the migrations up to `knows`, as they are today.

    What is not released yet was changed in place. Skips the test where the history is not there.
    """
    archive = subprocess.run(["git", "-C", ROOT, "archive", commit, *PACKAGES], capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip(f"the code of commit {commit} is not in this checkout's history: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    for there in (folder / "migrations", folder / "migrations" / "down"):
        for file in there.glob("0*.sql"):
            file.unlink()
        for file in (ROOT / there.relative_to(folder)).glob("0*.sql"):
            if int(file.name[:3]) <= knows:
                shutil.copy(file, there)
    return folder


def variables(world: World, code: Path) -> dict[str, str]:
    """The environment of a process of the code in a folder."""
    found = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    found |= {"PYTHONPATH": f"{code}:{ROOT}", "PYTHONSAFEPATH": "1", "IMI_CANARY_SECONDS": "0"}
    if code != ROOT:
        found["PYTHONDONTWRITEBYTECODE"] = ""  # or each start compiles all of it
    return found


def serve(world: World, code: Path) -> ServiceProcess:
    """`imi-registry serve` of the code in a folder."""
    return ServiceProcess([*COMMAND, "serve"], variables(world, code))


async def migrated(world: World, code: Path, *arguments: str) -> str:
    """What `imi-registry migrate` of that code says. The writers go on meanwhile: it waits for their commits."""

    def run() -> str:
        command = [*COMMAND, "migrate", *arguments]
        values = environment(**variables(world, code))
        done = subprocess.run(command, env=values, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return await asyncio.to_thread(run)
