"""A repository to which anything is done, and whether the registry says the same of it."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, settings

from publisher.checkouts.results import Result
from publisher.checkouts.sync import Sync
from registry.database import Registry
from registry.models import Worktree
from tests.support.git.repositories import checkout, commit, git

number = itertools.count()
"""So that each example has a project of its own."""


class Listed(NamedTuple):
    """A work tree, as `git worktree list` has it."""

    path: Path
    branch: str | None
    is_locked: bool


class World:
    """One repository, and what can be done to it; `chance` says to what of it, or where to."""

    def __init__(self, code: Path) -> None:
        self.code = code
        self.chance = 0
        self.main = checkout(code / "repo", f"git@github.com:ada/engine-{code.name}.git")

    def listed(self) -> list[Listed]:
        entries = [entry.split("\0") for entry in git(self.main, "worktree", "list", "--porcelain", "-z").split("\0\0")]
        found = []
        for lines in entries:
            values = dict(line.partition(" ")[::2] for line in lines if line)
            if values:
                branch = values["branch"].removeprefix("refs/heads/") if "branch" in values else None
                found.append(Listed(Path(values["worktree"]), branch, "locked" in values))
        return found

    def existing(self) -> list[Path]:
        return [one.path for one in self.listed() if (one.path / ".git").exists()]

    def linked(self) -> Path | None:
        """One of the linked work trees that are there."""
        linked = [path for path in self.existing() if path != self.main]
        return linked[self.chance % len(linked)] if linked else None

    def anyone(self) -> Path:
        return self.existing()[self.chance % len(self.existing())]

    def place(self) -> Path:
        """A free place, of which several have the same name."""
        names = ["repo", "a/repo", "b/repo", "feat-x", "a/feat-x", f"other-{self.chance}"]
        for name in names[self.chance % len(names) :] + names:
            if not (self.code / name).exists() and all(one.path != self.code / name for one in self.listed()):
                return self.code / name
        return self.code / f"more-{next(number)}"

    def commit(self) -> None:
        commit(self.anyone(), f"Größe {self.chance}")

    def edit(self) -> None:
        (self.anyone() / f"new {self.chance}\n").write_text("x")

    def branch(self) -> None:
        git(self.anyone(), "checkout", "--quiet", "-b", f"fix/{next(number)}")

    def rename_branch(self) -> None:
        path = self.anyone()
        if git(path, "branch", "--show-current") not in ("", "main"):
            git(path, "branch", "--move", f"feat/{next(number)}")

    def detach(self) -> None:
        git(self.anyone(), "checkout", "--quiet", "--detach")

    def add(self) -> None:
        git(self.main, "worktree", "add", "--quiet", "-b", f"feat/{next(number)}", str(self.place()))

    def remove(self) -> None:
        if path := self.linked():
            git(self.main, "worktree", "remove", "--force", "--force", str(path))

    def move(self) -> None:
        if path := self.linked():
            target = self.place()
            target.parent.mkdir(exist_ok=True)
            git(self.main, "worktree", "move", "--force", "--force", str(path), str(target))

    def move_by_hand(self) -> None:
        """git has it at the former place until it is repaired; pruned before that, its data is gone."""
        if path := self.linked():
            target = self.place()
            target.parent.mkdir(exist_ok=True)
            path.rename(target)

    def repair(self) -> None:
        """As much as can be: what is left of a pruned one cannot."""
        for folder in self.folders():
            if is_read_by_git(folder):
                git(folder, "worktree", "repair")

    def merge(self) -> None:
        path = self.linked()
        is_clean = not git(self.main, "status", "--porcelain")
        if path and is_clean and git(self.main, "branch", "--show-current") == "main":
            git(self.main, "merge", "--quiet", "--no-edit", "--strategy-option=ours", git(path, "rev-parse", "HEAD"))

    def folders(self) -> list[Path]:
        """Work trees, whatever git knows of them."""
        return sorted(one.parent for one in self.code.rglob(".git"))

    def delete(self) -> None:
        if path := self.linked():
            shutil.rmtree(path)

    def lock(self) -> None:
        path = self.linked()
        if path and not next(one for one in self.listed() if one.path == path).is_locked:
            git(self.main, "worktree", "lock", str(path))

    def unlock(self) -> None:
        for one in self.listed():
            if one.is_locked:
                git(self.main, "worktree", "unlock", str(one.path))

    def prune(self) -> None:
        git(self.main, "worktree", "prune", "--expire=now")

    def rename_repository(self) -> None:
        git(self.main, "remote", "set-url", "origin", f"git@github.com:grace/engine-{next(number)}-{self.code.name}")

    def move_clone(self) -> None:
        there = self.existing()[1:]
        target = self.place()
        target.parent.mkdir(exist_ok=True)
        self.main = self.main.rename(target)
        git(self.main, "worktree", "repair", *map(str, there))


def is_read_by_git(folder: Path) -> bool:
    """Whether git finds the data of a work tree."""
    return subprocess.run(["git", "-C", str(folder), "rev-parse", "--git-dir"], capture_output=True).returncode == 0


def is_there(listed: Listed) -> bool:
    """Whether this is at its path, which may be listed of another one, too."""
    folder = listed.path
    return (folder / ".git").exists() and listed.branch == (git(folder, "branch", "--show-current") or None)


async def check(registry: Registry, world: World, before: dict[Path, Worktree]) -> dict[Path, Worktree]:
    """Sync, and compare; returns the active worktrees that are registered then."""
    results = await Sync.run(registry, world.code)
    unreadable = {str(folder) for folder in world.folders() if not is_read_by_git(folder)}
    assert {one.path for one in results if one.outcome == "failed"} == unreadable
    found = {
        Path(one.path): one for one in await registry.list_worktrees() if Path(one.path).is_relative_to(world.code)
    }
    expected = {
        one.path: one.branch for one in world.listed() if is_there(one) or (one.is_locked and one.path in before)
    }
    assert found.keys() - {path for path, branch in expected.items() if branch is None} == {
        path for path, branch in expected.items() if branch is not None
    }
    for path, worktree in found.items():
        if (path / ".git").exists():
            assert worktree.branch_name == expected[path] or expected[path] is None
            assert_state(world, worktree)
    assert len({one.project_id for one in found.values()}) <= 1
    again: list[Result] = await Sync.run(registry, world.code)
    assert {one.outcome for one in again if one.path not in unreadable} <= {"unchanged", "skipped"}, again
    return found


def assert_state(world: World, worktree: Worktree) -> None:
    path = Path(worktree.path)
    behind, ahead = git(path, "rev-list", "--left-right", "--count", "main...HEAD").split()
    files = git(path, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames").split("\0")
    assert (worktree.ahead_of_trunk, worktree.behind_trunk) == (int(ahead), int(behind))
    assert worktree.uncommitted_files_count == len([one for one in files if one])
    assert worktree.last_commit_hash == git(path, "rev-parse", "HEAD")


def examples(count: int) -> settings:
    fixtures = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    phases = (Phase.explicit, Phase.reuse, Phase.generate)  # to shrink an example takes minutes
    return settings(max_examples=count, deadline=None, suppress_health_check=fixtures, phases=phases)
