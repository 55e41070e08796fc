"""Durable subscriptions of `RegistryClient`: what is handled, in which order, and again after a failure."""

from __future__ import annotations

import asyncio
import json
import traceback

import psycopg
import pytest
import structlog

from registry.client import Delivery, RegistryClient
from registry.concurrency.tasks import end
from registry.errors import Conflict, Invalid, NotFound
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.world import World

EVENTS = 30
"""A tenth of a second apart, more time than a reader that is gone is waited for."""


async def test_a_subscription_gets_typed_events_and_goes_on_where_it_stopped(world: World) -> None:
    names: list[str] = []
    seen = Seen()

    async def handler(delivery: Delivery) -> None:
        event = delivery.event
        assert event.data is not None
        names.append(event.data.name)  # type: ignore[attr-defined]
        seen.note(delivery)

    async with (
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        change_projects(world.database, 3, projects=1)
        async with subscribed(client, handler, durable="d", from_start=True):
            await seen.until(3)
        change_projects(world.database, 3, projects=1)
        async with subscribed(client, handler, durable="d"):
            await seen.until(6)
    assert names == ["name-0", "name-1", "name-2"] * 2


async def test_filters_choose_by_entity_action_and_project(world: World) -> None:
    seen = Seen()

    async with (
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        change_projects(world.database, 12, projects=3)
        ((project,),) = world.rows("SELECT id FROM projects WHERE remote_origin = 'git@github.com:a/p1.git'")
        options = {"entity": "project", "action": "updated", "project_id": project}
        async with subscribed(client, seen, durable="d", from_start=True, **options):
            await seen.until(3)
        await world.drained()
        with pytest.raises(Conflict, match="choose another name"):
            await client.subscribe(seen, durable="d")
        with pytest.raises(Invalid, match='durable "a b"'):
            await client.subscribe(seen, durable="a b")
        with pytest.raises(Invalid, match='entity "projet"'):
            await client.subscribe(seen, durable="e", entity="projet")

    assert set(seen.sequences) == {str(project)}
    assert len(seen.distinct) == 3


async def test_without_an_event_stream_a_subscription_says_so(world: World) -> None:
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        with pytest.raises(NotFound, match="imi-registry doctor tells what to do"):
            await client.subscribe(Seen(), durable="d")


async def test_a_failed_event_is_handled_again_before_those_of_its_project_and_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.client.subscriber.RETRY_SECONDS", (0.05, 0.1))
    seen = Seen()
    others_done = asyncio.Event()
    failures = 0

    async def handler(delivery: Delivery) -> None:
        nonlocal failures
        if delivery.sequence == 1 and (failures < 2 or not others_done.is_set()):
            failures += 1
            raise RuntimeError("not yet")
        seen.note(delivery)
        if len(seen.distinct) == 9:  # all of the other three projects
            others_done.set()

    async with (
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        change_projects(world.database, 12)
        async with subscribed(client, handler, durable="d", from_start=True, concurrency=3):
            await seen.until(12)
    assert failures >= 2
    seen.assert_in_order()
    assert sorted(seen.distinct) == list(range(1, 13))


async def test_a_failure_of_a_handler_is_logged_once_with_its_type_text_and_traceback(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.client.subscriber.RETRY_SECONDS", (0.01, 0.01))
    seen = Seen()
    failures = 0

    async def handler(delivery: Delivery) -> None:
        nonlocal failures
        if failures < 2:
            failures += 1
            raise LookupError(f"no shelf {failures}")
        seen.note(delivery)

    with structlog.testing.capture_logs() as logged:
        async with (
            world.relay(),
            RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
            subscribed(client, handler, durable="d", from_start=True),
        ):
            change_projects(world.database, 1)
            await seen.until(1)

    entries = [entry for entry in logged if entry["event"] == "handler failed"]
    assert [entry["error"] for entry in entries] == ["LookupError: no shelf 1", "LookupError: no shelf 2"]
    traces = ["".join(traceback.format_exception(entry["exc_info"])) for entry in entries]
    assert all('raise LookupError(f"no shelf' in trace for trace in traces)


async def test_events_in_hand_when_a_subscriber_ends_are_handled_by_the_next_in_order(world: World) -> None:
    seen = Seen()
    acknowledged: list[int] = []
    in_hand = asyncio.Event()

    async def stuck(delivery: Delivery) -> None:
        if delivery.sequence % 4 == 1:  # one project is done with, the others hang
            acknowledged.append(delivery.sequence)
            return
        in_hand.set()
        await asyncio.Event().wait()

    async with world.relay():
        change_projects(world.database, 40)
        async with (
            RegistryClient.connect(world.nats_url, prefix=world.prefix) as first,
            subscribed(first, stuck, durable="d", from_start=True),
        ):
            await in_hand.wait()
        async with (
            RegistryClient.connect(world.nats_url, prefix=world.prefix) as second,
            subscribed(second, seen, durable="d"),
        ):
            await seen.until(len(set(range(1, 41)) - set(acknowledged)))
        consumers = await world.nats.jetstream().consumers_info(world.names.event_stream)
    seen.assert_in_order()
    assert seen.distinct | set(acknowledged) == set(range(1, 41))
    assert [info.name for info in consumers if info.name.startswith("d-")] == ["d-2"], "d-1 would be told as behind"


async def test_a_second_subscriber_of_a_name_waits_for_the_first(world: World) -> None:
    first_seen, second_seen = Seen(), Seen()

    async with (
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as other,
    ):
        async with subscribed(client, first_seen, durable="d", from_start=True):
            change_projects(world.database, 8)
            await first_seen.until(8)
            second = asyncio.create_task(other.subscribe(second_seen, durable="d"))
            change_projects(world.database, 8)
            await first_seen.until(16)
            assert second_seen.distinct == set()
        change_projects(world.database, 8)
        await second_seen.until(8)
        await end([second])
    assert second_seen.distinct == set(range(17, 25))
    second_seen.assert_in_order()


async def test_who_is_given_events_and_never_waits_for_one_is_there_until_he_is_given_none(world: World) -> None:
    """As a reader whose backlog comes over a slow connection: what it asks for is on its way at once."""
    seen, nobody = Seen(), Seen()
    jetstream = world.nats.jetstream()
    async with (
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        async with subscribed(client, nobody, durable="d", from_start=True):
            while "d-1" not in {found.name for found in await jetstream.consumers_info(world.stream)}:
                await asyncio.sleep(0.01)
        while (await jetstream.consumer_info(world.stream, "d-1")).num_waiting:
            await asyncio.sleep(0.01)
        change_projects(world.database, EVENTS, projects=1)
        await world.drained()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{world.stream}.d-1"
        request = json.dumps({"batch": 1, "no_wait": True}).encode()
        inbox = world.nats.new_inbox()
        given = await world.nats.subscribe(inbox)
        async with subscribed(client, seen, durable="d"):
            for _ in range(EVENTS):
                await world.nats.publish(subject, request, reply=inbox)
                assert (await given.next_msg()).reply, "the other one took over"
                await asyncio.sleep(0.1)
            assert seen.distinct == set()
            await seen.until(EVENTS)


@pytest.mark.parametrize("change", ["moved", "merged"])
async def test_what_is_about_two_projects_waits_for_earlier_events_of_both(world: World, change: str) -> None:
    begun: list[str] = []
    handled: list[str] = []
    release = asyncio.Event()

    async def handler(delivery: Delivery) -> None:
        event = delivery.event
        name = f"{event.name} {getattr(event.data, 'name', '')}"
        begun.append(name)
        if name == "worktree.updated w" and begun.count(name) == 1:
            await release.wait()
        handled.append(name)

    with psycopg.connect(world.database, autocommit=True) as conn:
        ids = [
            conn.execute("SELECT register_project(%s, %s)", [name, f"git@github.com:a/{name}.git"]).fetchone()
            for name in ("from", "to", "other")
        ]
        source, target, other = [found[0] for found in ids if found]
        conn.execute("SELECT register_worktree(%s, 'feat', 'w', 'feat/w', '/w')", [source])
        async with (
            world.relay(),
            RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
            subscribed(client, handler, durable="d", from_start=True),
        ):
            conn.execute("UPDATE worktrees SET metadata = '{\"a\": 1}'")
            if change == "moved":
                conn.execute("UPDATE worktrees SET project_id = %s", [target])
            else:
                conn.execute("SELECT merge_projects(%s, %s)", [source, target])
            conn.execute("UPDATE projects SET description = 'x' WHERE id = %s", [other])
            async with asyncio.timeout(30):
                while "project.updated other" not in handled:
                    await asyncio.sleep(0.01)
                assert (begun.count("worktree.updated w"), begun.count("project.merged to")) == (1, 0)
                release.set()
                while handled.count("worktree.updated w") < 2:
                    await asyncio.sleep(0.01)
    assert ("project.merged to" in handled) == (change == "merged")
