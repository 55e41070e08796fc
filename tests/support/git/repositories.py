"""Real git repositories for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ORIGIN = "git@github.com:ada/engine.git"

# No configuration of this machine, and commits that have the same hash every time.
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_AUTHOR_DATE": "2026-01-21T10:00:00Z",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_COMMITTER_DATE": "2026-01-21T10:00:00Z",
}


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder` and return its output."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | ENVIRONMENT,
    )
    return done.stdout.strip()


def commit(folder: Path, message: str = "Change") -> str:
    """Commit a new file; returns the commit's hash."""
    (folder / f"{len(list(folder.iterdir()))}.txt").write_text(message)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def checkout(folder: Path, origin: str | None = None, branch: str = "main", commits: int = 1) -> Path:
    """A new repository in `folder` with `commits` commits on `branch`."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", f"--initial-branch={branch}")
    if origin is not None:
        git(folder, "remote", "add", "origin", origin)
    for number in range(commits):
        commit(folder, f"Commit {number}")
    return folder


def linked(main: Path, folder: Path, branch: str) -> Path:
    """A linked work tree of the repository at `main`, on a new branch."""
    git(main, "worktree", "add", "--quiet", "-b", branch, str(folder))
    return folder
