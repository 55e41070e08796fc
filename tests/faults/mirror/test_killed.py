"""A mirror whose process is killed again and again, under load, is its source, and has applied each event once."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.support.databases import Role, new_database
from tests.support.mirror.mirrors import Mirror
from tests.support.workload import writing
from tests.support.world import World


@pytest.fixture
def mirror(world: World, admin_url: str, owner: Role, template_database: str) -> Iterator[Mirror]:
    with new_database(admin_url, owner, template_database) as database:
        yield Mirror(world, database)


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.long)])
async def test_a_mirror_that_is_killed_at_any_moment_has_each_event_once(
    world: World, mirror: Mirror, kills: int
) -> None:
    rng = random.Random(kills)
    async with world.relay(), world.history(), world.queries():
        async with mirror.following():
            await mirror.caught_up()
        async with writing(world.database, seed=kills) as load:
            for _ in range(kills):
                with mirror.process() as process:
                    await process.ready()
                    await load.reach(commits=rng.randrange(1, 80))
                    process.kill()
        with mirror.process() as process:
            await mirror.assert_same()
            assert (await process.readyz())[0] == 200
    last = (await world.nats.jetstream().stream_info(world.stream)).state.last_seq
    assert mirror.state("events", "snapshots") == (last, 1)


async def test_a_snapshot_that_is_cut_off_leaves_what_was_there(world: World, mirror: Mirror) -> None:
    async with world.relay(), world.history(), world.queries():
        world.write(projects=5, worktrees=20)
        with mirror.process() as process:
            await process.until_logged("taking a snapshot of the source")
            process.kill()
        assert mirror.state("position IN ('') OR snapshots = 1") == (True,)
        async with mirror.following():
            await mirror.assert_same()
    assert mirror.state("snapshots") == (1,)
