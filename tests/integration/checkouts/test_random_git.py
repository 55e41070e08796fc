"""Whatever git does to a repository and its work trees, the registry says the same after a sync."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

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


OPERATIONS: dict[str, Callable[[World], None]] = {
    one.__name__: one
    for one in (
        *(World.commit, World.edit, World.branch, World.rename_branch, World.detach),
        *(World.add, World.remove, World.move, World.delete, World.lock, World.unlock, World.prune),
        *(World.rename_repository, World.move_clone, World.move_by_hand, World.repair, World.merge),
    )
}
Step = tuple[str, int, bool]
"""An operation, what it is done to, and whether there is a sync after it."""


def is_read_by_git(folder: Path) -> bool:
    """Whether git finds the data of a work tree."""
    return subprocess.run(["git", "-C", str(folder), "rev-parse", "--git-dir"], capture_output=True).returncode == 0


def steps(most: int) -> st.SearchStrategy[list[Step]]:
    one = st.tuples(st.sampled_from(list(OPERATIONS)), st.integers(0, 11), st.booleans())
    return st.lists(one, min_size=6, max_size=most)


async def check(registry: Registry, world: World, before: dict[Path, Worktree]) -> dict[Path, Worktree]:
    """Sync, and compare; returns the active worktrees that are registered then."""
    results = await Sync.run(registry, world.code)
    unreadable = {str(folder) for folder in world.folders() if not is_read_by_git(folder)}
    assert {one.path for one in results if one.outcome == "failed"} == unreadable
    found = {
        Path(one.path): one for one in await registry.list_worktrees() if Path(one.path).is_relative_to(world.code)
    }
    expected = {
        one.path: one.branch
        for one in world.listed()
        if (one.path / ".git").exists() or (one.is_locked and one.path in before)
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


async def walk(database: str, world: World, taken: list[Step]) -> None:
    async with Registry.connect(database) as registry:
        found = await check(registry, world, {})
        for operation, world.chance, is_synced in taken:
            is_renamed = operation == "rename_repository"
            if is_renamed:  # moved and renamed since the last sync, nobody could know it again
                found = await check(registry, world, found)
            OPERATIONS[operation](world)
            if is_synced or is_renamed:
                found = await check(registry, world, found)
        await check(registry, world, found)
        origins = [one.remote_origin for one in await registry.list_projects() if world.code.name in one.remote_origin]
        assert len(origins) == 1


def examples(count: int) -> settings:
    fixtures = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    phases = (Phase.explicit, Phase.reuse, Phase.generate)  # to shrink an example takes minutes
    return settings(max_examples=count, deadline=None, suppress_health_check=fixtures, phases=phases)


async def change_places(database: str, world: World, places: Sequence[str], renamed: Sequence[bool]) -> None:
    """Work trees a, b and c get these places, "-" is none, and their branches other names; d comes to a free place."""
    async with Registry.connect(database) as registry:
        # given
        for name in "abc":
            git(world.main, "worktree", "add", "--quiet", "-b", f"feat/{name}", str(world.code / name))
        await Sync.run(registry, world.code)
        known = {one.branch_name: one.id for one in await registry.list_worktrees() if world.code.name in one.path}
        for name in "abc":
            await registry.claim_worktree(known[f"feat/{name}"], f"agent-{name}")
        # when
        for name in "abc":
            git(world.main, "worktree", "move", str(world.code / name), str(world.code / f"from-{name}"))
        for name, place in zip("abc", places, strict=False):
            if place == "-":
                git(world.main, "worktree", "remove", str(world.code / f"from-{name}"))
            else:
                git(world.main, "worktree", "move", str(world.code / f"from-{name}"), str(world.code / place))
        for name, is_renamed in zip("abc", renamed, strict=True):
            if is_renamed:
                git(world.main, "branch", "--move", f"feat/{name}", f"fix/{name}")
        git(world.main, "worktree", "add", "--quiet", "-b", "feat/d", str(world.code / min({*"abcd"} - {*places[:3]})))
        found = await check(registry, world, {})
        # then
        for name, place, is_renamed in zip("abc", places, renamed, strict=False):
            worktree = found.get(world.code / place)
            if place == "-":
                assert f"feat/{name}" not in [one.branch_name for one in found.values()]
                continue
            assert worktree is not None
            assert (worktree.id, worktree.agent_id) == (known[f"feat/{name}"], f"agent-{name}")
            assert worktree.branch_name == f"{'fix' if is_renamed else 'feat'}/{name}"


@given(st.permutations("abcd--"), st.tuples(st.booleans(), st.booleans(), st.booleans()))
@example("b-c", (False, False, False))
@example("bcd", (False, False, False))
@example("bac", (False, True, False))
@example("cab", (True, True, True))
@examples(1)
def test_an_agent_stays_with_its_work_tree_wherever_that_is_moved(
    database: str, code: Path, places: Sequence[str], renamed: Sequence[bool]
) -> None:
    asyncio.run(change_places(database, World(code / f"w{next(number)}"), places, renamed))


@given(steps(8))
@examples(2)
def test_the_registry_says_what_git_says(database: str, code: Path, taken: list[Step]) -> None:
    asyncio.run(walk(database, World(code / f"w{next(number)}"), taken))


@pytest.mark.long
@given(steps(25))
@examples(50)
def test_the_registry_says_what_git_says_at_length(database: str, code: Path, taken: list[Step]) -> None:
    asyncio.run(walk(database, World(code / f"w{next(number)}"), taken))
