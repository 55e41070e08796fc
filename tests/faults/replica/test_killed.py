"""Either server is killed again and again, under load: the replica is its source, to the last row, each once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from publisher.replica.publication import publish
from publisher.replica.replication import copied, create, drop
from publisher.replica.source import connect_source
from registry.errors import Unprepared
from tests.support.replica.pairs import PATIENCE_SECONDS, Pair, Sites, pair, sites
from tests.support.servers.restartable import Restartable
from tests.support.services import scratch_directory
from tests.support.workload import writing


@pytest.fixture
def servers() -> Iterator[Sites]:
    with scratch_directory() as folder, sites(folder) as running:
        yield running


@pytest.fixture
def registries(servers: Sites) -> Iterator[Pair]:
    with pair(servers) as found:
        yield found


async def killed(server: Restartable) -> None:
    await server.stop(is_crash=True)
    await server.start()


async def made(registries: Pair, *, may_replace: bool) -> None:
    await create(registries.replica, "headquarters", registries.slot, registries.source, None, may_replace=may_replace)


async def all_copied(registries: Pair) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await copied(registries.replica, registries.source, lambda _done, _all: None)


async def why_not_copied(registries: Pair) -> str | None:
    """None once all is copied."""
    try:
        await all_copied(registries)
    except Unprepared as error:
        return str(error)
    return None


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.long)])
async def test_a_replica_is_its_source_whichever_server_is_killed(servers: Sites, registries: Pair, kills: int) -> None:
    rng = random.Random(kills)
    async with connect_source(registries.source) as conn:
        await publish(conn, None)
    async with writing(registries.source, seed=kills) as load:
        await load.reach(commits=50)
        await made(registries, may_replace=False)
        await all_copied(registries)
        for number in range(kills):
            await killed(servers[number % 2])
            await load.reach(commits=rng.randrange(1, 60))
        await load.reach(commits=50)
    await asyncio.to_thread(registries.assert_same)
    assert load.commits > 50 * 2
    assert registries.at_replica("SELECT * FROM differing_counts()") == []


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.long)])
async def test_an_initial_copy_that_is_cut_off_is_completed_or_told_to_be_made_anew(
    servers: Sites, registries: Pair, times: int
) -> None:
    rng = random.Random(times)
    async with connect_source(registries.source) as conn:
        await publish(conn, None)
    for number in range(times):
        async with writing(registries.source, seed=number) as load:
            await made(registries, may_replace=number > 0)
            await asyncio.sleep(rng.random())  # somewhere in the copy
            await killed(servers[1])
            await load.reach(commits=rng.randrange(1, 60))
            if (told := await why_not_copied(registries)) is not None:
                assert "was cut off where PostgreSQL cannot go on with it" in told
                await drop(registries.replica, registries.source)
                await made(registries, may_replace=True)
                await all_copied(registries)
        await asyncio.to_thread(registries.assert_same)
        await drop(registries.replica, registries.source)
        registries.at_source("DELETE FROM worktree_types WHERE name = 'load'")  # the next load makes it
