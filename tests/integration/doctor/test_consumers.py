"""What doctor says about the event stream and its consumers: each thing it names is made to happen."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from publisher.doctor import consumers as looked_at
from publisher.doctor import examine
from publisher.doctor.consumers import cluster, consumer_findings
from publisher.stream import consumers
from publisher.stream.consumers import lag_of
from registry.broker.errors import is_leaderless
from registry.concurrency.tasks import end
from registry.errors import Unavailable
from tests.support.nats.cluster import cluster as running_cluster
from tests.support.nats.reading import connected
from tests.support.world import World


async def found(world: World) -> list[str]:
    findings = await consumer_findings(world.nats, world.settings())
    assert not any(finding.is_well for finding in findings)
    return [finding.text for finding in findings]


async def given(world: World, **config: object) -> None:
    """A stream with events, and a durable consumer of it."""
    async with world.relay():
        world.write(1)
        await world.drained()
    consumer = ConsumerConfig(name="board", durable_name="board", **({"ack_policy": AckPolicy.EXPLICIT} | config))
    await world.nats.jetstream().add_consumer(world.stream, consumer)


async def test_without_a_stream_there_is_nothing_to_say(world: World) -> None:
    assert await found(world) == []


async def test_a_consumer_that_nobody_reads_is_named_with_how_far_it_is_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await given(world)
    assert await found(world) == []
    monkeypatch.setattr(looked_at, "STUCK_SECONDS", 0.0)
    count = (await world.nats.jetstream().stream_info(world.stream)).state.messages
    (line,) = await found(world)
    assert line.startswith(f"consumer board is {count} events behind, the oldest of 0:00:0")
    assert line.endswith(f"nobody reads it: start its component, or nats consumer rm {world.stream} board")


async def test_a_consumer_whose_handler_hangs_is_told_from_one_that_nobody_reads(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looked_at, "STUCK_SECONDS", 0.0)
    monkeypatch.setattr(consumers, "AT_WORK_SECONDS", 0.0)
    await given(world, max_ack_pending=1)
    subscription = await world.nats.jetstream().pull_subscribe_bind("board", world.stream)
    await subscription.fetch(1, timeout=10)
    waiting = asyncio.create_task(subscription.fetch(1, timeout=10))
    try:
        async with asyncio.timeout(10):
            while "its handler fails or hangs" not in (lines := await found(world))[0]:
                await asyncio.sleep(0.02)
    finally:
        waiting.cancel()
    assert len(lines) == 1


async def test_who_is_at_work_at_what_it_fetched_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked_at, "STUCK_SECONDS", 0.0)
    await given(world)
    subscription = await world.nats.jetstream().pull_subscribe_bind("board", world.stream)
    await subscription.fetch(1, timeout=10)
    (line,) = await found(world)
    assert "its handler fails or hangs" in line


async def test_who_fetches_again_and_again_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked_at, "STUCK_SECONDS", 0.0)
    monkeypatch.setattr(consumers, "AT_WORK_SECONDS", 0.0)
    await given(world)
    subscription = await world.nats.jetstream().pull_subscribe_bind("board", world.stream)

    async def work() -> None:
        while True:
            for message in await subscription.fetch(1, timeout=10):
                await message.nak()
            await asyncio.sleep(0.05)

    working = asyncio.create_task(work())
    try:
        (line,) = await found(world)
    finally:
        await end([working])
    assert "its handler fails or hangs" in line


async def test_a_consumer_to_which_events_are_pushed_is_read_while_somebody_listens(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looked_at, "STUCK_SECONDS", 0.0)
    monkeypatch.setattr(looked_at, "LOOK_SECONDS", 0.0)
    await given(world, deliver_subject=(inbox := world.nats.new_inbox()))
    listener = await world.nats.subscribe(inbox)
    async with asyncio.timeout(10):
        while "its handler fails or hangs" not in (await found(world))[0]:
            await asyncio.sleep(0.02)
        await listener.unsubscribe()
        while "nobody reads it" not in (await found(world))[0]:
            await asyncio.sleep(0.02)


async def test_of_several_filters_the_oldest_event_of_any_counts_and_no_other(world: World) -> None:
    events = f"{world.prefix}.evt.v1"
    await given(world, filter_subjects=[f"{events}.registry.>", f"{events}.worktree_type.>"])
    async with world.relay():
        world.rows("UPDATE worktree_types SET description = name RETURNING 1")
        await world.drained()
    jetstream = world.nats.jetstream()
    info = await jetstream.consumer_info(world.stream, "board")
    last = (await jetstream.stream_info(world.stream)).state.last_seq
    first = await jetstream.get_msg(world.stream, last - 5)

    lag = await lag_of(jetstream, world.stream, info)

    assert first.time is not None
    assert lag.pending == 6
    assert 0 < lag.oldest_seconds <= (datetime.now(UTC) - first.time).total_seconds()


async def test_consumers_that_lose_events_by_their_settings_are_named(world: World) -> None:
    await given(world, max_deliver=3)
    (line,) = await found(world)
    assert line.startswith("consumer board gives an event up, and tells nobody, once it was delivered 3 times")
    await world.nats.jetstream().delete_consumer(world.stream, "board")
    await given(world, ack_policy=AckPolicy.NONE)
    (line,) = await found(world)
    assert line.startswith("consumer board acknowledges nothing (ack_policy none)")


async def test_a_stream_of_another_configuration_is_told(world: World) -> None:
    await given(world)
    jetstream = world.nats.jetstream()
    config = (await jetstream.stream_info(world.stream)).config
    await jetstream.update_stream(config.evolve(max_bytes=10_000_000))
    (line,) = await found(world)
    assert "max_bytes is 10000000, expected -1" in line
    assert line.endswith("a publisher that starts refuses it")


@pytest.mark.parametrize(
    "is_leader_left",
    [pytest.param(False, marks=pytest.mark.long), True],
    ids=["leader_lost", "leader_left_alone"],
)
async def test_replicas_that_are_away_and_a_cluster_without_a_leader_are_told(
    world: World, state_dir: Path, is_leader_left: bool
) -> None:
    async with running_cluster(state_dir) as three:
        # given: a stream on three servers, into which something was published
        async with connected(three.url) as client:
            there = world.at(nats_url=three.url, nats=client)
            async with there.relay(stream_replicas=3):
                there.write(1)
                await there.drained()
        async with asyncio.timeout(120):
            while list(cluster(there.stream, (await three.info(there.stream)).cluster)):  # until all have it
                await asyncio.sleep(0.1)

        # when: one is lost that does not lead
        leader = await three.leader(there.stream)
        followers = [number for number in range(3) if number != leader]
        await three.kill(followers[0])
        # then
        async with asyncio.timeout(120):
            while not (told := list(cluster(there.stream, (await three.info(there.stream)).cluster))):
                await asyncio.sleep(0.1)
        assert told[0].text.startswith(f"replicas of stream {there.stream} on node")

        # when: a second one
        await three.kill(followers[1] if is_leader_left else leader)
        # then: the third tells after a while that it knows no leader
        settings = world.at(nats_url=three.nodes_up()).settings(stream_replicas=3)
        lines: list[str] = []
        async with asyncio.timeout(120):
            while not any("has no leader" in line for line in lines):
                try:
                    lines = [finding.text for finding in await examine(settings) if not finding.is_well]
                except Unavailable as error:  # before one knows
                    if is_leaderless(error):
                        raise
                await asyncio.sleep(0.2)
        assert f"stream {there.stream} has no leader: nothing is stored, and no command is taken" in lines[-1]
        assert lines[-1].endswith("; start what is missing of NATS")
