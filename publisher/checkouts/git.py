"""Git repositories on this machine, read with git itself; nothing in them is changed."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from registry.errors import Invalid, RegistryError

TIMEOUT_SECONDS = 60
OF_ANOTHER_REPOSITORY = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"}
"""Set while a git hook runs us: they would point every command to the repository of the hook."""
FALLBACK_BRANCH = "main"


@dataclass(frozen=True)
class Linked:
    """A work tree of a repository. `branch` is None when its HEAD is detached."""

    path: Path
    branch: str | None


@dataclass(frozen=True)
class Repository:
    """A repository and all its work trees, the main one first (there is none of a bare repository)."""

    common_dir: Path
    """What all its work trees share: its identity."""
    origin: str | None
    """URL of the remote `origin`, with what `insteadOf` makes of it."""
    default_branch: str
    trunk: Path
    """The main work tree, else the one of the default branch, else the folder of the bare repository."""
    worktrees: tuple[Linked, ...]


@dataclass(frozen=True)
class State:
    """What a sync finds in a work tree. None is not known: no commit yet, or no trunk branch to compare with."""

    uncommitted_files: int
    ahead: int | None
    behind: int | None
    commit_hash: str | None
    commit_message: str | None


def origin(path: Path) -> str | None:
    """URL of the remote `origin` of the checkout at `path`; None when there is none, or `path` is no checkout."""
    return _ask(path, "remote", "get-url", "origin")


def repository(path: Path) -> Repository:
    """The repository that `path` is in. Raises `Invalid` when it is in none."""
    common_dir = _run(path, "rev-parse", "--path-format=absolute", "--git-common-dir")
    listed = _run(path, "worktree", "list", "--porcelain", "-z")
    entries = [_fields(entry) for entry in listed.split("\0\0") if entry.strip("\0")]
    worktrees = tuple(
        Linked(Path(entry["worktree"]), _branch(entry))
        for entry in entries
        if "bare" not in entry and "prunable" not in entry
    )
    remote_head = _ask(path, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
    default_branch = (remote_head or "").removeprefix("origin/") or _branch(entries[0]) or FALLBACK_BRANCH
    is_bare = "bare" in entries[0]
    of_default_branch = [one.path for one in worktrees if is_bare and one.branch == default_branch]
    return Repository(
        Path(common_dir),
        origin(path),
        default_branch,
        (of_default_branch or [Path(entries[0]["worktree"])])[0],
        worktrees,
    )


def worktree(path: Path, of: Repository) -> Linked:
    """The work tree that `path` is in, of its repository. Raises `Invalid` when it is in none."""
    top = Path(_run(path, "rev-parse", "--path-format=absolute", "--show-toplevel"))
    for one in of.worktrees:
        if one.path == top:
            return one
    raise Invalid(f'"{path}" is in no work tree of the repository "{of.common_dir}"')


def state(path: Path, default_branch: str) -> State:
    """The state of the work tree at `path`, compared with the trunk: `origin`'s branch, or the local one without it."""
    changes = _run(path, "status", "--porcelain=v2", "--untracked-files=all")
    uncommitted = len(changes.splitlines())
    if _ask(path, "rev-parse", "--quiet", "--verify", "HEAD^{commit}") is None:
        return State(uncommitted, None, None, None, None)
    commit_hash, _, message = _run(path, "log", "-1", "--format=%H%n%s").partition("\n")
    for trunk in (f"refs/remotes/origin/{default_branch}", f"refs/heads/{default_branch}"):
        if counted := _ask(path, "rev-list", "--left-right", "--count", f"{trunk}...HEAD", "--"):
            behind, ahead = counted.split()
            return State(uncommitted, int(ahead), int(behind), commit_hash, message)
    return State(uncommitted, None, None, commit_hash, message)


def _fields(entry: str) -> dict[str, str]:
    """Attributes of one entry of `git worktree list --porcelain -z`; one without a value is there with ""."""
    return {name: value for name, _, value in (line.partition(" ") for line in entry.split("\0") if line)}


def _branch(entry: dict[str, str]) -> str | None:
    return entry["branch"].removeprefix("refs/heads/") if "branch" in entry else None


def _ask(folder: Path, *arguments: str) -> str | None:
    """Output of a git command; None where it fails, as it does for what is not there."""
    done = _call(folder, *arguments)
    return done.stdout.strip() if done.returncode == 0 else None


def _run(folder: Path, *arguments: str) -> str:
    """Output of a git command. Raises `Invalid` with what git says."""
    done = _call(folder, *arguments)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"git {arguments[0]} failed"])[0]
        raise Invalid(f'"{folder}": {reason.removeprefix("fatal: ")}')
    return done.stdout.strip("\n")


def _call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY}
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",  # of commit messages; a path that is not UTF-8 is then not found, and said so
            timeout=TIMEOUT_SECONDS,
            check=False,
            env=environment | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except OSError as error:
        raise RegistryError(f"cannot run git: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise RegistryError(f'"{folder}": git {arguments[0]} did not end within {TIMEOUT_SECONDS} s') from error
