"""What of a replica cannot be looked at now is not told as if it were as before."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from publisher.replica.health import ReplicaHealth
from publisher.replica.watch import ReplicaWatch
from tests.support.metrics.exported import Exported
from tests.support.proxy import postgres_proxy
from tests.support.replica.pairs import PATIENCE_SECONDS, Pair
from tests.support.world import World, running


async def test_while_postgresql_is_away_nothing_is_told_but_that_and_how_old_it_is(
    world: World, following: Pair
) -> None:
    async with postgres_proxy(following.replica) as (proxy, url), asyncio.timeout(PATIENCE_SECONDS):
        settings = world.at(database=url).settings(replica_source_url=following.source)
        health = ReplicaHealth(CollectorRegistry())
        exported = Exported(health.registry)
        async with running(ReplicaWatch(settings, health)):
            await exported.until(lambda age: age >= 0, "imi_replica_age_seconds")
            following.at_replica(f"ALTER SUBSCRIPTION {following.slot} DISABLE")
            await exported.until(lambda runs: runs == 0, "imi_replica_running")
            while not any("is disabled" in one for one in health.problems()):
                await asyncio.sleep(0.05)
            proxy.refuse()
            await exported.until_absent("imi_replica_running")
            assert [one.partition(": ")[0] for one in health.problems()] == ["the replica is not watched"]
            told = [exported.value(f"imi_replica_{name}") for name in ("behind_bytes", "uncopied_tables", "errors")]
            assert told == [None] * 3
            assert (exported.value("imi_replica_age_seconds") or -1) >= 0
            proxy.go_on()
            await exported.until(lambda runs: runs == 0, "imi_replica_running")


async def test_while_the_source_is_away_it_is_not_told_how_much_is_missing(world: World, following: Pair) -> None:
    async with postgres_proxy(following.source) as (proxy, url):
        settings = world.at(database=following.replica).settings(replica_source_url=url)
        health = ReplicaHealth(CollectorRegistry())
        exported = Exported(health.registry)
        async with running(ReplicaWatch(settings, health)):
            await exported.until(lambda behind: behind >= 0, "imi_replica_behind_bytes")
            proxy.refuse()
            await exported.until_absent("imi_replica_behind_bytes")
            assert exported.value("imi_replica_running") == 1
            proxy.go_on()
            await exported.until(lambda behind: behind >= 0, "imi_replica_behind_bytes")
