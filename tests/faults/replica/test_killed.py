"""Either server is killed again and again, under load: the replica is its source, to the last row, each once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from publisher.replica.publication import publish
from publisher.replica.replication import copied, create
from publisher.replica.source import connect_source
from tests.support.replica.pairs import Pair, Sites, pair, sites
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


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.long)])
async def test_a_replica_is_its_source_whichever_server_is_killed(servers: Sites, registries: Pair, kills: int) -> None:
    rng = random.Random(kills)
    async with connect_source(registries.source) as conn:
        await publish(conn, None)
    async with writing(registries.source, seed=kills) as load:
        await load.reach(commits=50)
        await create(registries.replica, "headquarters", registries.slot, registries.source, None, may_replace=False)
        for number in range(kills):  # the first ones while tables are copied
            server = servers[number % 2]
            await server.stop(is_crash=True)
            await server.start()
            await load.reach(commits=rng.randrange(1, 60))
        await copied(registries.replica, lambda _done, _all: None)
        await load.reach(commits=50)
    await asyncio.to_thread(registries.assert_same)
    assert load.commits > 50 * 2
    assert registries.at_replica("SELECT * FROM differing_counts()") == []
