"""A server that cuts, stalls or is silent only delays a part of the service, whenever that is."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from publisher.applier.applier import Applier
from publisher.applier.metrics import ApplierMetrics
from publisher.health import Health
from publisher.history.service import HistoryService
from publisher.part import Part
from publisher.query_service import QueryService
from registry.concurrency.tasks import end
from tests.support.proxy import Direction, nats_proxy, postgres_proxy
from tests.support.world import World

PARTS = {"relay": World.relay, "applier": World.applier, "queries": World.queries, "history": World.history}
"""What each of them needs to settle comes through the proxies."""


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("server", ["PostgreSQL", "NATS"])
@pytest.mark.parametrize("part", PARTS)
async def test_a_connection_cut_at_any_step_of_a_parts_start_only_delays_it(
    world: World, part: str, server: str, every: int
) -> None:
    async with (
        postgres_proxy(world.database) as (database, database_url),
        nats_proxy(world.nats_url) as (nats, nats_url),
    ):
        there = world.at(database=database_url, nats_url=nats_url)
        proxy = database if server == "PostgreSQL" else nats

        def cut() -> None:
            proxy.cut()
            proxy.go_on()
            cuts.append(step)

        cuts: list[int] = []
        for step in range(every // 2 + 1, 200, every):
            proxy.stop_at(step, "before", cut)
            async with PARTS[part](there):
                pass
            proxy.go_on()
            if step not in cuts:  # it has settled in fewer steps
                break
    assert step < 199
    if server == "NATS":
        assert len(cuts) * every >= 7


async def test_a_nats_that_stalls_after_the_first_contact_only_delays_queries_and_history(world: World) -> None:
    async with nats_proxy(world.nats_url) as (proxy, url):
        settings = world.at(nats_url=url).settings()

        def swallow_once_greeted(direction: Direction, data: bytes) -> bool:
            is_swallowed = is_greeted and direction == "to_server"
            is_greeted.extend([True] if b"PONG" in data else [])
            return bool(is_swallowed)

        is_greeted: list[bool] = []
        proxy.swallow = swallow_once_greeted
        parts: list[Part] = [
            QueryService(settings, Health("queries", CollectorRegistry())),
            HistoryService(settings, Health("history", CollectorRegistry())),
        ]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(part.run()) for part in parts]
            async with asyncio.timeout(30):
                while not all(part.health.problems() for part in parts):
                    await asyncio.sleep(0.01)
                assert not any(part.settled.is_set() for part in parts)
                proxy.go_on()
                for part in parts:
                    await part.settled.wait()
            await end(running)
        assert [(part.health.problems(), part.health.crashed) for part in parts] == [([], 0), ([], 0)]


async def test_an_applier_that_ends_while_nats_is_silent_says_why_and_ends_in_time(world: World) -> None:
    async with nats_proxy(world.nats_url) as (proxy, url):
        metrics = ApplierMetrics(CollectorRegistry())
        applier = Applier(world.at(nats_url=url).settings(), metrics)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(applier.run())
            await applier.settled.wait()
            proxy.black_hole()
            async with asyncio.timeout(30):
                while not metrics.problems():
                    await asyncio.sleep(0.01)
            said = metrics.problems()
            await end([task])

    assert task.cancelled()
    assert "commands wait: NATS is silent" in said[-1]
