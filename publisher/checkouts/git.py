"""Git repositories on this machine, read with git itself; nothing in them is changed, and nothing of them is run."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from publisher.checkouts.origins import on_github
from publisher.checkouts.run_git import ask, printable, run, version, without_filters
from publisher.checkouts.trunk import LOCAL, REMOTE, Branches
from registry.errors import Unusable

MAX_MESSAGE_LENGTH = 1000
"""Of the first line of a commit message that is stored: one of 5 MB could not be published."""
ATTRIBUTES = ("HEAD ", "branch ", "bare", "detached", "locked", "prunable")
"""How the lines of `worktree list --porcelain` begin, below the path."""


@dataclass(frozen=True)
class Place:
    """Where the repository of a work tree keeps its data."""

    common_dir: Path
    """What all its work trees share: its identity."""
    git_dir: Path
    """What is this work tree's own; it stays the same when `git worktree move` moves the work tree."""
    has_files: bool
    """Whether the files of the work tree begin here: not beside a bare repository, nor where `core.worktree` names
    another folder, which may be any."""

    @property
    def is_main(self) -> bool:
        """Whether it is the main work tree (or a bare repository), and not a linked one."""
        return self.git_dir == self.common_dir


@dataclass(frozen=True)
class Linked:
    """A work tree that git knows. It need not be there: see `presence`."""

    path: Path
    branch: str | None
    """None when its HEAD is detached."""
    is_locked: bool = False


@dataclass(frozen=True)
class Repository:
    """A repository and all its work trees, the main one first (there is none of a bare repository)."""

    common_dir: Path
    """What all its work trees share: its identity."""
    origin: str | None
    """URL of the remote `origin`, see `origin`."""
    default_branch: str
    stale_head: str | None
    """The branch that `origin/HEAD` names, where that is gone and nothing tells which of several took its place."""
    trunk: Path
    """The main work tree, else the one of the default branch, else the folder of the bare repository."""
    worktrees: tuple[Linked, ...]


@dataclass(frozen=True)
class State:
    """What a sync finds in a work tree. None is not known: no commit yet, or a trunk that was not fetched."""

    uncommitted_files: int
    ahead: int | None
    behind: int | None
    commit_hash: str | None
    commit_message: str | None

    @property
    def told_hash(self) -> str:
        """As the registry is told: an empty one says that there is no commit, also where there was one."""
        return self.commit_hash or ""


def origin(path: Path) -> str | None:
    """URL of the remote `origin` of the checkout at `path`; None when there is none, or `path` is no checkout.

    It is what `insteadOf` makes of it, with the name of GitHub in place of an alias of ssh.
    """
    url = ask(path, "remote", "get-url", "origin")
    return on_github(printable(url)) if url is not None else None


def place(path: Path) -> Place:
    """Where the work tree whose top is `path` has its data. Raises `Invalid` when `path` is none."""
    common_dir = run(path, "rev-parse", "--path-format=absolute", "--git-common-dir", at_most=path)
    asked = ("--is-inside-work-tree", "--show-prefix", "--path-format=absolute", "--git-dir")
    is_inside, below_top, git_dir = run(path, "rev-parse", *asked, at_most=path).split("\n", 2)
    return Place(Path(common_dir), Path(git_dir), (is_inside, below_top) == ("true", ""))


def is_work_tree(path: Path) -> bool:
    """Whether files are checked out at `path`; not so beside a bare repository, to which a `.git` there may lead."""
    return ask(path, "rev-parse", "--is-inside-work-tree", at_most=path) == "true"


def is_called_bare(path: Path) -> bool:
    """Whether files were checked out at `path`, and `core.bare` says since that its repository has none."""
    is_bare = ask(path, "rev-parse", "--is-bare-repository", at_most=path) == "true"
    return is_bare and _has_index(place(path).common_dir)


def repository(path: Path, known_branch: str | None = None) -> Repository:
    """The repository that `path` is in. Raises `Unusable` when it is in none.

    `known_branch` is what is known to be its default branch: it is, as long as git does not say something else.
    """
    common_dir = Path(run(path, "rev-parse", "--path-format=absolute", "--git-common-dir"))
    main, *others = _listed(path)
    is_bare = "bare" in main
    branches = Branches.of(path)
    branch = branches.default(known_branch, _branch(main), is_bare=is_bare and not _has_index(common_dir))
    worktrees = _once([_linked(entry, common_dir) for entry in others])
    main_path = _main_path(path, Path(main["worktree"]), common_dir)
    of_default_branch = [one.path for one in worktrees if one.branch == branch]
    trunk = (of_default_branch or [Path(main["worktree"])])[0]
    if main_path is not None and not is_bare:
        worktrees.insert(0, Linked(main_path, _branch(main)))
        trunk = main_path
    return Repository(common_dir, origin(path), branch, branches.stale_head(branch), trunk, tuple(worktrees))


def worktree(path: Path, of: Repository) -> Linked:
    """The work tree that `path` is in, of its repository. Raises `Unusable` when it is in none."""
    top = Path(run(path, "rev-parse", "--path-format=absolute", "--show-toplevel"))
    for one in of.worktrees:
        if one.path == top:
            return one
    raise Unusable(f'"{path}" is in no work tree of the repository "{of.common_dir}"')


def state(path: Path, default_branch: str) -> State:
    """The state of the work tree at `path`, compared with the trunk: `origin`'s branch, or the local one without it.

    A trunk that has no commit yet, here and at `origin`, lacks all commits there are; so does a HEAD without commits.
    """
    changes = uncommitted(path)
    if ask(path, "rev-parse", "--quiet", "--verify", "HEAD", at_most=path) is None:
        ahead, behind = _distance(path, default_branch, has_commits=False)
        return State(changes, ahead, behind, None, None)
    newest = ("rev-list", "--max-count=1", "--encoding=UTF-8", "--format=%H%n%s", "HEAD", "--")
    _, commit_hash, message = run(path, *newest, at_most=path).split("\n", 2)
    ahead, behind = _distance(path, default_branch)
    return State(changes, ahead, behind, commit_hash, printable(message)[:MAX_MESSAGE_LENGTH])


def uncommitted(path: Path) -> int:
    """How many files of the work tree at `path` are not committed; a submodule with such files is one.

    A file that a filter program would convert (`git lfs`, `git-crypt`) is compared as it lies there, once its size or
    time differs from what git remembers.
    """
    options = ("--porcelain=v2", "-z", "--untracked-files=all", "--find-renames", "--ignore-submodules=dirty")
    status = run(path, *without_filters(path, path), "status", *options, at_most=path)
    changed = set(_changed_files(status))
    return len(changed) + sum(uncommitted(path / one) > 0 for one in _submodules(path) if one not in changed)


def has_commit(path: Path, commit_hash: str) -> bool:
    """Whether the repository that `path` is in has this commit."""
    if re.fullmatch(r"[0-9a-f]{7,64}", commit_hash) is None:
        return False
    return ask(path, "cat-file", "-e", f"{commit_hash}^{{commit}}") is not None


def was_on(path: Path, branch: str) -> bool | None:
    """Whether `branch`, by this or a later name, was checked out in the work tree at `path`, by its own reflog.

    None when git keeps none.
    """
    told = ask(path, "log", "--no-mailmap", "--walk-reflogs", "--format=-%gs", "HEAD", "--", at_most=path)
    left = (f"-checkout: moving from {branch} to ", f"-Branch: renamed {LOCAL}{branch} to ")
    return any(line.startswith(left) for line in told.split("\n")) if told else None


def _listed(path: Path) -> list[dict[str, str]]:
    """What `git worktree list` says: the attributes of each work tree; one without a value is there with ""."""
    if version() >= (2, 36):
        listed = run(path, "worktree", "list", "--porcelain", "-z")
        entries = [entry.split("\0") for entry in listed.split("\0\0") if entry.strip("\0")]
    else:
        listed = run(path, "worktree", "list", "--porcelain")
        entries = [entry.split("\n") for entry in listed.strip("\n").split("\n\n")]
        is_whole = all(lines[0].startswith("worktree ") and len(lines) > 1 for lines in entries)
        if not is_whole or not all(line.startswith(ATTRIBUTES) for lines in entries for line in lines[1:]):
            raise Unusable(f'"{path}": a work tree has a line break in its path, which git before 2.36 cannot list')
    return [{name: value for name, _, value in (line.partition(" ") for line in lines if line)} for lines in entries]


def _linked(entry: dict[str, str], common_dir: Path) -> Linked:
    """One of a listing. Before 2.48 git lists a work tree that is linked by a relative path as that path stands."""
    kept_in = common_dir / "worktrees" / "any"
    return Linked(Path(os.path.normpath(kept_in / entry["worktree"])), _branch(entry), "locked" in entry)


def _once(listed: list[Linked]) -> list[Linked]:
    """Those that are where git lists them, of several at one path.

    One that was moved by hand to where another was is listed there as soon as git is told, and that one until a prune.
    """
    count = Counter(one.path for one in listed)
    found = {one.path: one for one in listed if count[one.path] == 1 or one.branch == _checked_out(one.path)}
    return list(found.values())


def _checked_out(path: Path) -> str | None:
    """The branch that is checked out at `path`; None where HEAD is detached, or none is there."""
    head = ask(path, "symbolic-ref", "--quiet", "HEAD", at_most=path)
    return head.removeprefix(LOCAL) if head is not None else None


def _has_index(common_dir: Path) -> bool:
    """Whether files were ever checked out where the repository itself is: not so beside one that was made bare."""
    return (common_dir / "index").exists()


def _branch(entry: dict[str, str]) -> str | None:
    return entry["branch"].removeprefix(LOCAL) if "branch" in entry else None


def _main_path(path: Path, listed: Path, common_dir: Path) -> Path | None:
    """Where the main work tree is. git lists the repository instead, where that is not the `.git` in it.

    Of a submodule the repository knows it; of `init --separate-git-dir` only the main work tree itself does: None.
    """
    if listed / ".git" == common_dir:
        return listed
    if configured := ask(path, "config", "--get", "core.worktree"):
        return Path(os.path.normpath(common_dir / configured))
    if run(path, "rev-parse", "--path-format=absolute", "--git-dir") != str(common_dir):
        return None
    top = ask(path, "rev-parse", "--path-format=absolute", "--show-toplevel")
    return Path(top) if top else None


def _distance(path: Path, default_branch: str, has_commits: bool = True) -> tuple[int | None, int | None]:
    """How many commits HEAD is ahead of and behind the trunk; None when the trunk is not known here."""
    for trunk in (f"{REMOTE}{default_branch}", f"{LOCAL}{default_branch}"):
        if ask(path, "rev-parse", "--quiet", "--verify", f"{trunk}^{{commit}}", at_most=path) is not None:
            ahead = _count(path, "HEAD", f"^{trunk}") if has_commits else 0
            behind = _count(path, trunk, "^HEAD") if has_commits else _count(path, trunk)
            return ahead, behind
    if ask(path, "for-each-ref", "--count=1", REMOTE, at_most=path):
        return None, None  # the trunk is one of the branches that were not fetched
    return _count(path, "HEAD") if has_commits else 0, 0


def _count(path: Path, *commits: str) -> int:
    return int(run(path, "rev-list", "--count", *commits, "--", at_most=path))


def _changed_files(status: str) -> Iterator[str]:
    """Paths of the entries of `git status --porcelain=v2 -z`. A renamed file has two, of which one is given."""
    fields_before_path = {"1": 8, "2": 9, "u": 10, "?": 1}
    entries = iter(status.split("\0"))
    for entry in entries:
        kind = entry[:1]
        if kind in fields_before_path:
            yield entry.split(" ", fields_before_path[kind])[-1]
        if kind == "2":
            next(entries, None)


def _submodules(path: Path) -> Iterator[str]:
    """Paths of the submodules that are checked out in the work tree at `path`."""
    for entry in run(path, "ls-files", "-z", "--stage", at_most=path).split("\0"):
        if entry.startswith("160000 "):
            inside = entry.partition("\t")[2]
            if ask(path / inside, "rev-parse", "--git-dir", at_most=path / inside) is not None:
                yield inside
