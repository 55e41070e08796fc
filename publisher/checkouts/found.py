"""How a sync finds a work tree that git lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from publisher.checkouts import git
from publisher.checkouts.git import Linked, Repository
from publisher.checkouts.presence import Seen, presence
from publisher.checkouts.run_git import is_text, printable
from registry.errors import Unusable
from registry.models import Project, Worktree


@dataclass
class Found:
    """A work tree that git lists."""

    linked: Linked
    repository: Repository
    project: Project
    seen: Seen | None = None
    """How it is seen now; None of one that is not there."""
    was_on: Mapping[str, bool | None] = field(default_factory=dict)
    """Of the branches that are known of it: see `git.was_on`."""
    before: Worktree | None = None
    """As what it is known."""

    @property
    def path(self) -> str:
        """Where it is."""
        return str(self.linked.path)

    def is_work_of(self, worktree: Worktree) -> bool | None:
        """Whether it has the branch of `worktree`, or had it once; None where git does not say."""
        return self.linked.branch == worktree.branch_name or self.was_on.get(worktree.branch_name)


def look_at(
    linked: Linked, project: Project, repository: Repository, latest_origin: str | None, known: Sequence[Worktree]
) -> Found | None:
    """How a work tree is found; None where another repository is now: it is found as one of that.

    `known` are the worktrees of the project that can be of this host. Raises `RegistryError` or `OSError` when it
    cannot be known.
    """
    text_of(linked.path)
    if presence(linked.path, None) != "there":
        return Found(linked, repository, project)
    place = git.place(linked.path)
    if place.common_dir != repository.common_dir:
        return None
    if not place.has_files:
        raise Unusable(f'"{text_of(linked.path)}": core.worktree says that its files are elsewhere')
    seen = Seen.at(linked.path, place.git_dir, latest_origin)
    synced = [(one, before) for one in known if (before := Seen.before(one)) is not None]
    its = [one for one, before in synced if one.path == str(linked.path) or seen.has_data_of(before)]
    branches = {one.branch_name for one in its} - {linked.branch}
    is_rebased = any(place.git_dir.glob("rebase-*"))  # then its reflog does not say yet what it left
    was_on = {branch: is_rebased or git.was_on(linked.path, branch) for branch in branches}
    return Found(linked, repository, project, seen, was_on)


def text_of(path: Path) -> str:
    """The path as text. Raises `Unusable` when it is none, as only bytes can be."""
    if not is_text(path):
        raise Unusable(f'"{printable(path)}": a path must be UTF-8')
    return str(path)
