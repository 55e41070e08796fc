"""Git checkouts on this machine: their GitHub origin and branch, read with git itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Checkout(NamedTuple):
    """A git work tree whose remote `origin` is on GitHub."""

    path: Path
    origin: str
    branch: str


def find(root: Path) -> Iterator[Checkout]:
    """Checkouts with a GitHub origin: `root` itself and the folders directly in it, by name. None without git."""
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))]
    for folder in folders:
        if (folder / ".git").exists():
            origin = _git(folder, "config", "--get", "remote.origin.url")
            if origin and "github.com" in origin:
                yield Checkout(folder, origin, _git(folder, "branch", "--show-current") or "main")


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command in `folder`; None where it fails or git is not there."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
