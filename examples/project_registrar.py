"""Project registrar: registers the git checkouts below a folder, and their linked work trees, over NATS alone.

NATS_URL=nats://127.0.0.1:4222 python examples/project_registrar.py ~/code

It may be run as often as one likes: what is registered already stays as it is. `imi-registry sync` does much more.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from registry.client import RegistryClient
from registry.errors import Conflict, Invalid


async def main(clones: list[Path]) -> None:
    """Register each once, and say what became of it."""
    prefix = os.environ.get("IMI_PREFIX", "imi")
    async with RegistryClient.connect(os.environ["NATS_URL"], prefix=prefix, name="registrar") as client:
        for clone in clones:
            try:
                origin = git(clone, "remote", "get-url", "origin")
                project = await client.register_project(name=clone.name, remote_origin=origin, trunk_path=str(clone))
                for folder, branch in linked(clone):
                    await client.register_worktree(
                        project_id=project, type_name="feat", name=folder.name, branch_name=branch, path=str(folder)
                    )
                    print(f"{clone.name}/{folder.name}: registered", flush=True)
                print(f"{clone.name}: registered", flush=True)
            except (subprocess.CalledProcessError, UnicodeDecodeError, Invalid, Conflict) as error:
                print(f"{clone.name}: skipped: {error}", flush=True)


def linked(clone: Path) -> Iterator[tuple[Path, str]]:
    """Folder and branch of each linked work tree of a clone."""
    for entry in git(clone, "worktree", "list", "--porcelain").split("\n\n")[1:]:
        told = dict(line.partition(" ")[::2] for line in entry.splitlines())
        if "branch" in told and "prunable" not in told:  # of one whose folder is gone git still tells
            yield Path(told["worktree"]), told["branch"].removeprefix("refs/heads/")


def git(folder: Path, *arguments: str) -> str:
    """What a git command in `folder` prints. Raises `CalledProcessError`."""
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    asyncio.run(main(sorted(found.parent for found in root.glob("*/.git") if found.is_dir())))
