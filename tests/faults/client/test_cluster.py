"""A durable subscription over a cluster of nats-servers: one node that is lost is no reason to begin anew."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from publisher.actions import Actions, entry_of
from publisher.doctor.consumers import consumer_findings
from publisher.gauges import streams
from registry.client import Delivery, RegistryClient
from registry.concurrency.tasks import end
from registry.dead_letters.desk import DeadLetterDesk
from registry.dead_letters.letter import DeadLetter, Failure
from registry.dead_letters.stream import LetterStream
from registry.errors import Unavailable
from tests.support.metrics.alerts import HAS_PROMTOOL, firing
from tests.support.metrics.exported import exported_levels
from tests.support.nats.cluster import SIZE, cluster
from tests.support.nats.reading import connected
from tests.support.world import World

MANY = 300
"""More consumers than nats-server lists at once."""


async def test_a_consumer_whose_leader_is_lost_is_not_taken_for_one_that_is_gone(world: World, state_dir: Path) -> None:
    handled: list[int] = []

    async def handle(delivery: Delivery) -> None:
        handled.append(delivery.sequence)

    async def until_handled(count: int) -> None:
        async with asyncio.timeout(60):
            while len(set(handled)) < count:
                await asyncio.sleep(0.02)

    async with cluster(state_dir) as nodes, connected(nodes.url) as direct:
        there = world.at(nats_url=nodes.url, nats=direct)
        async with there.relay(stream_replicas=SIZE):
            # given: events are handled from the first subscription on, and what comes later waits for the next one
            there.write(projects=1, worktrees=0, renames=1)
            await there.drained()
            async with RegistryClient.connect(nodes.url, prefix=world.prefix) as client, asyncio.TaskGroup() as tasks:
                subscription = tasks.create_task(client.subscribe(handle, durable="d", from_start=True))
                await until_handled(2)
                await end([subscription])
            there.write(projects=3, worktrees=0, renames=9)
            await there.drained()
            waiting = len(await there.published()) - len(set(handled))

            # when: the node that leads the consumer is lost
            info = await direct.jetstream().consumer_info(there.stream, "d-1")
            assert info.cluster is not None
            lost = int(str(info.cluster.leader).removeprefix("node"))
            await nodes.kill(lost)

            # then
            async with (
                RegistryClient.connect(nodes.nodes_up(), prefix=world.prefix) as client,
                asyncio.TaskGroup() as tasks,
            ):
                subscription = tasks.create_task(client.subscribe(handle, durable="d"))
                await until_handled(2 + waiting)
                await end([subscription])
            assert len(handled) == len(set(handled))

            # and the gauge of the alert ImiReplicaMissing tells, and the alert fires
            async with connected(nodes.nodes_up()) as up, asyncio.timeout(60):
                while await replicas_missing(up, there) != 1:
                    await asyncio.sleep(0.1)
                text = exported_levels(await streams.measure(up, there.profile))
                found = await consumer_findings(up, there.settings(stream_replicas=SIZE))
            assert [one for one in found if f"on node{lost} are away or behind: one more loss may stop it" in one.text]
            if HAS_PROMTOOL:
                assert "ImiReplicaMissing" in await firing(text)


async def test_consumers_whose_leader_is_lost_are_told_of_and_hide_no_other(
    world: World, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_CONSUMERS", MANY)
    async with cluster(state_dir) as nodes, connected(nodes.url) as direct:
        there = world.at(nats_url=nodes.url, nats=direct)
        async with there.relay(stream_replicas=SIZE):
            there.write(projects=1, worktrees=0, renames=0)
            await there.drained()
        jetstream = direct.jetstream(timeout=20)
        made = [
            jetstream.add_consumer(there.stream, ConsumerConfig(durable_name=f"d{number:03}", num_replicas=1))
            for number in range(MANY)
        ]
        homes = {info.name: info.cluster.leader for info in await asyncio.gather(*made) if info.cluster is not None}
        lost = homes["d000"]

        await nodes.kill(int(str(lost).removeprefix("node")))

        left = {name for name, home in homes.items() if home != lost}
        async with connected(nodes.nodes_up()) as up, asyncio.timeout(120):
            while await consumers_told(up, there) != (left, False):
                await asyncio.sleep(0.1)
            found = await consumer_findings(up, there.settings(stream_replicas=SIZE))
        problem = f"nats-server tells of {len(left)} of its {MANY} consumers; others have no leader now"
        assert [one.is_hindrance for one in found if problem in one.text] == [False]


async def consumers_told(client: Client, there: World) -> tuple[set[str], bool]:
    """Which have figures of their own, and whether it is said how many there are; none while nothing can be asked."""
    try:
        levels = {level.name: level.values for level in await streams.measure(client, there.profile)}
    except Unavailable:
        return set(), False
    return set(levels["imi_consumer_pending_events"]), bool(levels["imi_consumers"])


async def replicas_missing(client: Client, there: World) -> float | None:
    """What is exported of the event stream; None while it cannot be measured."""
    try:
        levels = await streams.measure(client, there.profile)
    except Unavailable:
        return None
    return next(level.values for level in levels if level.name == "imi_stream_replicas_missing")[there.stream]


async def test_dead_letters_and_what_people_do_have_as_many_replicas_as_the_events(
    world: World, state_dir: Path
) -> None:
    letters = world.names.letters
    async with cluster(state_dir) as nodes, connected(nodes.url) as direct:
        there = world.at(nats_url=nodes.url, nats=direct)
        async with there.relay(stream_replicas=SIZE):
            there.write(projects=1, worktrees=0, renames=0)
            await there.drained()
            (event,) = await there.published()
        now = datetime.now(UTC)
        failure = Failure("why", 1, now, now)
        letter = DeadLetter("d", 0, event.envelope["id"], event.subject, event.sequence, failure, {}, b"{}")
        desk = DeadLetterDesk(direct, there.profile)
        await desk.prepare("d")
        await LetterStream(direct, letters, "d").bury(letter)
        await desk.drop("d", 1, actor="ada")
        await Actions(direct, letters).add(entry_of("cli", "ada", "tried", "this", "done"))

        for stream in (letters.stream("d"), letters.record_stream, letters.action_stream):
            assert (await direct.jetstream().stream_info(stream)).config.num_replicas == SIZE
