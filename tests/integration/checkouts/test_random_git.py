"""Whatever git does to a repository and its work trees, the registry says the same after a sync."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.database import Registry
from tests.support.git.world import World, check, examples, number

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


def steps(most: int) -> st.SearchStrategy[list[Step]]:
    one = st.tuples(st.sampled_from(list(OPERATIONS)), st.integers(0, 11), st.booleans())
    return st.lists(one, min_size=6, max_size=most)


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


@given(steps(8))
@examples(2)
def test_the_registry_says_what_git_says(database: str, code: Path, taken: list[Step]) -> None:
    asyncio.run(walk(database, World(code / f"w{next(number)}"), taken))


@pytest.mark.long
@given(steps(25))
@examples(50)
def test_the_registry_says_what_git_says_at_length(database: str, code: Path, taken: list[Step]) -> None:
    asyncio.run(walk(database, World(code / f"w{next(number)}"), taken))
