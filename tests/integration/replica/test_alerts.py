"""A replica that is old raises an alert at its own site, one that is away at its source's.

That of a lost one is where one is lost: test_told.py.
"""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from publisher.replica.health import ReplicaHealth
from publisher.replica.watch import ReplicaWatch
from tests.support.metrics.alerts import firing, needs_promtool
from tests.support.metrics.exported import Exported, exported_slots
from tests.support.replica.pairs import PATIENCE_SECONDS, Pair
from tests.support.world import World, running

pytestmark = needs_promtool


async def test_an_old_replica(world: World, following: Pair) -> None:
    settings = world.at(database=following.replica).settings(replica_source_url=following.source)

    async def exported(is_old: bool) -> str:
        health = ReplicaHealth(CollectorRegistry())
        async with running(ReplicaWatch(settings, health)):
            return await Exported(health.registry).until(
                lambda age: age > 300 if is_old else age >= 0, "imi_replica_age_seconds"
            )

    assert "ImiCopyOld" not in await firing(await exported(is_old=False))
    following.at_replica(f"ALTER SUBSCRIPTION {following.slot} DISABLE")
    following.at_replica("UPDATE replica_source SET known_at = now() - interval '6 min'")
    assert "ImiCopyOld" in await firing(await exported(is_old=True))


async def test_a_replica_that_is_away(following: Pair) -> None:
    async def alerts() -> set[str]:
        found = await firing(await exported_slots(following.source))
        return found & {"ImiReplicaAway", "ImiReplicaLost"}

    assert await alerts() == set()
    following.at_replica(f"ALTER SUBSCRIPTION {following.slot} DISABLE")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await alerts() != {"ImiReplicaAway"}:  # its reader ends a moment later
            await asyncio.sleep(0.05)
