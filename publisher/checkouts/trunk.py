"""Which branch of a repository is its trunk, by the best evidence there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from publisher.checkouts.run_git import ask

FALLBACK_BRANCH = "main"
USUAL_BRANCHES = ("main", "master")
REMOTE = "refs/remotes/origin/"
LOCAL = "refs/heads/"


@dataclass(frozen=True)
class Branches:
    """The branches of the repository that `path` is in."""

    path: Path
    remote: set[str]
    """Those of `origin`, as they were fetched last."""
    local: set[str]
    remote_head: str | None
    """The one that `origin/HEAD` names, whether it is there or not; None where it names none."""

    @classmethod
    def of(cls, path: Path) -> Branches:
        """Read them."""
        refs = (ask(path, "for-each-ref", "--format=%(refname)", LOCAL, REMOTE) or "").split("\n")
        remote = {ref.removeprefix(REMOTE) for ref in refs if ref.startswith(REMOTE)} - {"HEAD"}
        local = {ref.removeprefix(LOCAL) for ref in refs if ref.startswith(LOCAL)}
        head = ask(path, "symbolic-ref", "--quiet", f"{REMOTE}HEAD") or ""
        return cls(path, remote, local, head.removeprefix(REMOTE) if head.startswith(REMOTE) else None)

    def default(self, known: str | None, checked_out: str | None, *, is_bare: bool) -> str:
        """The branch that work is merged into.

        What is checked out comes last: it is as likely somebody's work. `origin/HEAD` is what a clone was told; where
        it names a branch that is gone since, the only one there is took its place. What is `known` may have been
        renamed.
        """
        if self.remote_head in self.remote:
            return self.remote_head
        only = next(iter(self.remote)) if len(self.remote) == 1 else None
        if self.remote_head and only:
            return only
        if known is not None and known not in self.remote | self.local:
            known = self._renamed(known) or known
        if is_bare:
            asked = ("rev-parse", "--symbolic-full-name", "main-worktree/HEAD")
            bare_head = (ask(self.path, *asked) or "").removeprefix(LOCAL)
            if bare_head in self.local:
                return bare_head
        for branches in (self.remote, self.local):
            for branch in (known, *USUAL_BRANCHES):
                if branch in branches:
                    return branch
        return known or only or checked_out or FALLBACK_BRANCH

    def stale_head(self, default: str) -> str | None:
        """What `origin/HEAD` names, where that is gone and none of the several that there are is the `default`."""
        is_stale = self.remote_head is not None and self.remote_head not in self.remote
        return self.remote_head if is_stale and len(self.remote) > 1 and default not in self.remote else None

    def _renamed(self, branch: str) -> str | None:
        """What `branch` was renamed to by `git branch --move`, however often, by the reflogs; None where none tells."""
        renamed = f"--grep-reflog=Branch: renamed {LOCAL}{branch} to "
        asked = ("--walk-reflogs", "--branches", "--fixed-strings", renamed, "--format=%gD", "--")
        entries = ask(self.path, "log", "--no-mailmap", *asked)
        return entries.split("\n")[0].rpartition("@{")[0] or None if entries else None
