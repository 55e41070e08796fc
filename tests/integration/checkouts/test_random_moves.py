"""Wherever work trees are moved, each keeps its worktree and agent, and a new one has none."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from publisher.checkouts.sync import Sync
from registry.database import Registry
from registry.errors import Unavailable
from tests.support.git.repositories import git
from tests.support.git.world import World, check, examples, number


class Change(NamedTuple):
    """What is done to work trees a, b and c while nobody syncs, and how a new one d comes."""

    places: Sequence[str] = "abc"
    """Where they go; "-" is nowhere."""
    renamed: Sequence[bool] = (False, False, False)
    """Whose branch gets another name."""
    is_by_hand: bool = False
    """Without git, which is told by `repair`: until a prune it has what was removed at its place, too."""
    new: str = "at its place"
    """d takes the place of one that is gone or was moved, "of its name" its name elsewhere, "detached" so without a
    branch."""
    names_host: bool = False
    """The host gets a name."""
    ends_after: int | None = None
    """A pass loses the database before its write of that number."""


def move(world: World, change: Change) -> None:
    places = dict(zip("abc", change.places, strict=False))
    for name in "abc":
        old, new = world.code / name, world.code / f"from-{name}"
        old.rename(new) if change.is_by_hand else git(world.main, "worktree", "move", str(old), str(new))
    for name, place in places.items():
        old, new = world.code / f"from-{name}", world.code / place
        if change.is_by_hand:
            shutil.rmtree(old) if place == "-" else old.rename(new)
        else:
            git(world.main, "worktree", *(["remove", str(old)] if place == "-" else ["move", str(old), str(new)]))
    if change.is_by_hand:
        git(world.main, "worktree", "repair", *(str(world.code / place) for place in places.values() if place != "-"))


def add(world: World, change: Change) -> Path:
    free = min({*"abcd"} - {*change.places[:3]})
    path = world.code / free if change.new == "at its place" else world.code / "elsewhere" / free
    how = ["--detach"] if change.new == "detached" else ["-b", "feat/d"]
    git(world.main, "worktree", "add", "--quiet", "--force", *how, str(path))
    return path


async def end_after(registry: Registry, world: World, count: int) -> None:
    """A pass that ends before its update of a worktree of that number."""
    left = itertools.count(count, -1)
    update = Registry.update_worktree

    async def updated(self: Registry, *given: Any, **named: Any) -> None:
        if next(left) <= 0:
            raise Unavailable("the database is lost")
        await update(self, *given, **named)

    with pytest.MonkeyPatch.context() as patch, suppress(Unavailable):
        patch.setattr(Registry, "update_worktree", updated)
        await Sync.run(registry, world.code)


async def change_places(database: str, world: World, change: Change) -> None:
    async with Registry.connect(database) as registry:
        # given
        for name in "abc":
            git(world.main, "worktree", "add", "--quiet", "-b", f"feat/{name}", str(world.code / name))
        await Sync.run(registry, world.code)
        known = {one.branch_name: one.id for one in await registry.list_worktrees() if world.code.name in one.path}
        for name in "abc":
            await registry.claim_worktree(known[f"feat/{name}"], f"agent-{name}")
        # when
        move(world, change)
        there = [one.path for one in world.listed() if (one.path / ".git").exists() and one.path != world.main]
        data = {path: Path(git(path, "rev-parse", "--git-dir")).name for path in there}
        for path, name in data.items():
            if change.renamed["abc".index(name)]:
                git(path, "branch", "--move", f"feat/{name}", f"fix/{name}")
        new = add(world, change)
        if change.names_host:
            registry = registry.on_host(f"host-{world.code.name}")
        if change.ends_after is not None:
            await end_after(registry, world, change.ends_after)
        found = await check(registry, world, {})
        # then
        for path, name in data.items():
            assert (found[path].id, found[path].agent_id) == (known[f"feat/{name}"], f"agent-{name}")
            assert found[path].branch_name == git(path, "branch", "--show-current")
        assert {one.agent_id for path, one in found.items() if path not in data} == {None}
        assert (new in found) == (change.new != "detached")


@given(
    st.builds(
        Change,
        st.permutations("abcd--"),
        st.tuples(st.booleans(), st.booleans(), st.booleans()),
        st.booleans(),
        st.sampled_from(["at its place", "of its name", "detached"]),
        st.booleans(),
        st.none() | st.integers(0, 4),
    )
)
@example(Change("b-c"))
@example(Change("bcd", new="of its name"))
@example(Change("bac", (False, True, False), names_host=True))
@example(Change("cab", (True, True, True), ends_after=2))
@example(Change("-ac", is_by_hand=True))
@example(Change("-bc", new="of its name"))
@example(Change("-bc", new="detached"))
@examples(1)
def test_an_agent_stays_with_its_work_tree_wherever_that_is_moved(database: str, code: Path, change: Change) -> None:
    asyncio.run(change_places(database, World(code / f"w{next(number)}"), change))
