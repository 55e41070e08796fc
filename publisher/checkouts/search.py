"""Git checkouts on this machine: where they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from publisher.checkouts import git
from publisher.checkouts.run_git import is_text
from registry.errors import RegistryError

SKIPPED = {"node_modules"}


class Checkout(NamedTuple):
    """A git work tree whose remote `origin` is on GitHub."""

    path: Path
    origin: str
    branch: str


def find(root: Path) -> Iterator[Checkout]:
    """Checkouts with a GitHub origin: `root` itself and the folders directly in it, by name. None without git."""
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))]
    for folder in filter(_is_checkout, folders):
        try:
            found = git.repository(folder)
        except RegistryError:  # a broken one, or there is no git: the demo has projects of its own
            continue
        if found.origin and "github.com" in found.origin and is_text(folder):
            yield Checkout(folder, found.origin, found.default_branch)


def walk(root: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    """Checkouts in `root` at any depth, `root` included, by name; what is inside a checkout is its own affair.

    Hidden folders, links and `node_modules` are not entered; a folder that cannot be read is given to `on_error`.
    """
    for folder, names, _ in os.walk(root, onerror=on_error):
        if _is_checkout(Path(folder)):
            names.clear()
            yield Path(folder)
        names[:] = sorted(name for name in names if not name.startswith(".") and name not in SKIPPED)


def _is_checkout(folder: Path) -> bool:
    """Whether there is a `.git`: a folder, or in a linked work tree a file."""
    try:
        return (folder / ".git").exists()
    except OSError:  # no right to look inside
        return False
