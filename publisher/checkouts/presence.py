"""Whether a checkout that the registry knows is still there; what is known of it is in its worktree's metadata.

Git forgets a work tree that was removed, and cannot tell one that is gone from one on a disk that is not mounted. So a
sync keeps, as `checkout` in the metadata of a worktree, on which host it saw it, where its git data is, and on which
mount. Only what this host saw may this host call gone.

Of a repository that was renamed, it also keeps that a checkout had the latest origin: where that has a former one
later, the repository was renamed back. A checkout that nobody updated has a former one all the time.
"""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from publisher.checkouts.run_git import printable
from registry.models import DEFAULT_HOST, Host, Worktree

KEY = "checkout"

Presence = Literal["there", "gone", "not mounted"]


@dataclass(frozen=True)
class Seen:
    """How a sync saw a work tree."""

    host: str
    git_dir: str
    """What is its own of the repository's data: it stays the same when git moves the work tree."""
    mount: str
    """Mount point of the file system it is on."""
    latest_origin: str | None = None
    """The latest origin that its project had when this one had it; None while the project had no other."""
    made: str | None = None
    """When git made it, in nanoseconds since 1970, if it is a linked one: the next one of its name has another time."""

    @classmethod
    def at(cls, path: Path, git_dir: Path, latest_origin: str | None) -> Seen:
        """How the work tree at `path` is seen now."""
        return cls(socket.gethostname(), printable(git_dir), printable(_mount(path)), latest_origin, _made(git_dir))

    @classmethod
    def before(cls, worktree: Worktree | None) -> Seen | None:
        """How it was seen last; None when no sync saw it."""
        kept = worktree.metadata.get(KEY) if worktree is not None else None
        if not isinstance(kept, dict):
            return None
        values = {name: value for name, value in kept.items() if name in NAMES and isinstance(value, str)}
        return cls(**values) if values.keys() >= {"host", "git_dir", "mount"} else None

    @property
    def linked_to(self) -> str | None:
        """Where the repository has its data of which it is a linked work tree; None of a main one."""
        folder = Path(self.git_dir).parent
        return str(folder.parent) if folder.name == "worktrees" else None

    def has_data_of(self, before: Seen | None) -> bool:
        """Whether git keeps it where it kept `before`: the next work tree of that name may be kept there, too."""
        return before is not None and (self.host, self.git_dir) == (before.host, before.git_dir)

    def is_at_place_of(self, before: Seen) -> bool:
        """Whether it is the linked work tree that `before` was, whatever the machine is called.

        Of a main one nothing tells: another machine may have its own at the same path.
        """
        return (self.git_dir, self.made) == (before.git_dir, before.made) and self.made is not None

    def is_made_anew(self, before: Seen | None) -> bool:
        """Whether it is another work tree than `before`: git makes no other when it moves or repairs one."""
        return before is not None and None not in (self.made, before.made) and self.made != before.made

    def metadata(self, before: Seen | None = None) -> dict[str, Any]:
        """What is kept of it; where it does not have the latest origin now, also which it had `before`."""
        latest = self.latest_origin or (before.latest_origin if before is not None else None)
        kept = asdict(replace(self, latest_origin=latest))
        return {KEY: {name: value for name, value in kept.items() if value is not None}}


NAMES = {one.name for one in fields(Seen)}


def gone(worktree: Worktree, why: str) -> dict[str, Any]:
    """What is kept of a worktree that a sync retires."""
    seen = Seen.before(worktree)
    return {KEY: (seen.metadata()[KEY] if seen is not None else {}) | {"gone": why}}


@dataclass(frozen=True)
class Here:
    """This host as the registry knows it: None where nobody named it, and it is the default one, as others may be."""

    host: Host | None = None

    @property
    def host_id(self) -> UUID:
        """Its id."""
        return DEFAULT_HOST if self.host is None else self.host.id

    def is_elsewhere(self, worktree: Worktree) -> bool:
        """Whether it is another host's, which this one cannot see.

        On the default host is what nobody told the host of. There, what another machine saw is elsewhere. What none saw
        may be here, unless this host has a name: then it is for whoever knows where it is to say so.
        """
        seen = Seen.before(worktree)
        if worktree.host_id == self.host_id != DEFAULT_HOST:
            return False
        if worktree.host_id != DEFAULT_HOST:
            return True
        if seen is None:
            return self.host_id != DEFAULT_HOST
        return seen.host != socket.gethostname()

    def called(self, worktree: Worktree) -> str:
        """Its name without that of this host, which it has where another host has the same."""
        names = [] if self.host is None else [self.host.name, *self.host.former_names]
        ends = [f"@{name}" for name in names if worktree.host_id == self.host_id]
        end = next((end for end in ends if worktree.name.endswith(end)), "")
        return worktree.name.removesuffix(end)


def was_retired(worktree: Worktree) -> bool:
    """Whether a sync removed it, and no person: it comes back with its checkout."""
    kept = worktree.metadata.get(KEY)
    return isinstance(kept, dict) and "gone" in kept


def presence(path: Path, seen: Seen | None) -> Presence:
    """Whether there is a work tree at `path`.

    Raises `OSError` when it cannot be known, as without the right to look into its folder.
    """
    try:
        os.lstat(path / ".git")
    except (FileNotFoundError, NotADirectoryError):
        return "gone" if is_mounted(seen) else "not mounted"
    return "there"


def is_mounted(seen: Seen | None) -> bool:
    """Whether the file system is mounted on which it was seen; so is one that nobody saw."""
    return seen is None or os.path.ismount(seen.mount)


def _made(git_dir: Path) -> str | None:
    try:
        return str((git_dir / "commondir").stat().st_mtime_ns)  # written once
    except OSError:
        return None


def _mount(path: Path) -> Path:
    """The mount point that an existing `path` is below."""
    real = Path(os.path.realpath(path))
    while not os.path.ismount(real):
        real = real.parent
    return real
