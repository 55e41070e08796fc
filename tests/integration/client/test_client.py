"""`RegistryClient`: typed commands, what their errors mean, and durable subscriptions."""

from __future__ import annotations

import asyncio
import traceback
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
import structlog

from registry.broker.connection import flushed
from registry.client import Delivery, RegistryClient, Sending
from registry.concurrency.tasks import end
from registry.database import Registry
from registry.errors import Conflict, Invalid, NotFound, OutcomeUnknown, Unavailable
from tests.support.proxy import nats_proxy
from tests.support.world import World

ORIGIN = "git@github.com:a/p.git"


async def test_every_command_has_a_call(world: World) -> None:
    async with (
        world.applier(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        project = await client.register_project(name="p", remote_origin=ORIGIN)
        assert await client.update_project(remote_origin=ORIGIN, description="d") == project
        worktree = await client.register_worktree(
            project_id=project, type_name="feat", name="x", branch_name="x", path="/srv/x"
        )
        assert await client.update_worktree(path="/srv/x", new_path="/srv/y", metadata={"a": 1}) == worktree
        assert await client.update_git_state(worktree_id=worktree, ahead=2, behind=0) == worktree
        assert await client.claim_worktree(path="/srv/y", agent_id="ada") == worktree
        assert await client.release_worktree(path="/srv/y", agent_id="ada") == worktree
        activity = await client.log_activity(
            agent_id="ada", worktree_id=worktree, activity_type="other", description="d"
        )
        assert await client.merge_worktree(worktree_id=worktree, merged_by="ada", merge_commit_hash="abc") == worktree
        assert await client.remove_worktree(worktree_id=worktree) == worktree
        number = await client.add_worktree_type(name="docs", color="#000000")
        await client.remove_worktree_type(name="docs")
        assert await client.deactivate_project(project_id=project) == project

    assert world.rows("SELECT id, description, active FROM projects") == [(project, "d", False)]
    assert world.rows("SELECT id, path, ahead_of_trunk, merged_by FROM worktrees") == [(worktree, "/srv/y", 2, "ada")]
    assert world.rows("SELECT id FROM agent_activities") == [(activity,)]
    assert world.rows("SELECT data -> 'type_id' FROM outbox WHERE entity = 'worktree_type'") == [(number,)] * 2
    assert {verdict for *_, verdict in world.outcome_events()} == {"applied", "idempotent"}


async def test_sixteen_clients_that_register_one_origin_at_once_get_one_id(world: World) -> None:
    forms = [ORIGIN, "https://github.com/A/P", "ssh://git@github.com/a/p.git", "git://github.com/a/p.git/"]

    async with world.applier(), AsyncExitStack() as stack:
        connect = (RegistryClient.connect(world.nats_url, prefix=world.prefix) for _ in range(16))
        clients = [await stack.enter_async_context(client) for client in connect]
        ids = await asyncio.gather(
            *[one.register_project(name="p", remote_origin=forms[n % 4]) for n, one in enumerate(clients)]
        )

    assert world.rows("SELECT id FROM projects") == [(ids[0],)]
    assert set(ids) == {ids[0]}
    assert world.rows("SELECT count(*) FROM outbox WHERE action = 'registered'") == [(1,)]
    assert sorted(verdict for *_, verdict in world.outcome_events()) == ["applied", *["idempotent"] * 15]


async def test_a_refusal_is_the_error_of_its_kind(world: World) -> None:
    async with (
        world.applier(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        with pytest.raises(NotFound, match="is no project"):
            await client.deactivate_project(project_id=uuid4())
        with pytest.raises(Invalid, match="owner/repo on GitHub"):
            await client.register_project(name="p", remote_origin="nowhere")
        project = await client.register_project(name="p", remote_origin=ORIGIN)
        await client.register_worktree(
            project_id=project, type_name="feat", name="x", branch_name="x", path="/srv/x", agent_id="ada"
        )

        with pytest.raises(Conflict, match='held by agent "ada"'):
            await client.claim_worktree(path="/srv/x", agent_id="bob")
        told = len(world.outcome_events())
        with pytest.raises(Invalid, match='name: " ": it must not be blank'):
            await client.register_project(name=" ", remote_origin=ORIGIN)

        assert len(world.outcome_events()) == told  # it was not even sent


async def test_what_is_nested_as_deep_as_is_allowed_can_be_read_everywhere(world: World) -> None:
    metadata: dict[str, Any] = {"a": 1}
    for _ in range(99):
        metadata = {"a": metadata}

    async with (
        world.relay(),
        world.applier(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        Registry.connect(world.database) as registry,
    ):
        async with client.tail(entity="project") as events:
            await client.register_project(name="p", remote_origin=ORIGIN, metadata=metadata)
            async for delivery in events:
                assert delivery.event.data.metadata == metadata  # type: ignore[union-attr]
                break
        (project,) = await registry.list_projects()
        assert orjson.loads(project.model_dump_json())["metadata"] == metadata
        with pytest.raises(Invalid, match="deeper than 100 levels"):
            await client.update_project(remote_origin=ORIGIN, metadata={"a": metadata})


async def test_attributes_given_with_a_call_arrive_in_the_command_and_its_events(world: World) -> None:
    conversation, command_id, cause = uuid4(), uuid4(), uuid4()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    commands = await world.nats.subscribe(world.names.commands.filter)
    await flushed(world.nats)

    async with (
        world.applier(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        sending = Sending(
            command_id=command_id,
            actor="ada",
            correlation_id=conversation,
            causation_id=cause,
            traceparent=trace,
            idempotency_key="k",
        )
        first = await client.register_project(name="p", remote_origin=ORIGIN, sending=sending)
        again = await client.register_project(
            name="p", remote_origin=ORIGIN, sending=Sending(idempotency_key="k", actor="bob")
        )

    assert first == again
    command = orjson.loads((await commands.next_msg(timeout=10)).data)
    assert (command["causationid"], command["traceparent"]) == (str(cause), trace)
    query = "SELECT actor, correlation_id, causation_id, traceparent FROM outbox"
    assert world.rows(query) == [("ada", conversation, command_id, trace)] * 2


async def test_a_client_reads_no_setting_of_the_publisher(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {
        "DATABASE_URL": "mysql://",
        "IMI_BATCH_SIZE": "many",
        "IMI_PREFIX": "A B",
        "IMI_PROFILE": "x",
        "IMI_SOURCE": "",
    }
    for name, value in bad.items():
        monkeypatch.setenv(name, value)

    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        with pytest.raises(NotFound, match=world.names.event_stream):
            await client.last_sequence()


async def test_a_prefix_that_cannot_be_is_refused_before_any_server_is_asked() -> None:
    with pytest.raises(Invalid, match=r'setting prefix: value "a\.b": it must be '):
        async with RegistryClient.connect("nats://127.0.0.1:1", prefix="a.b"):
            pass


async def test_without_an_applier_ever_a_command_is_known_not_to_be_sent(world: World) -> None:
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        with pytest.raises(Unavailable, match="has the applier been started") as refused:
            await client.register_project(name="p", remote_origin=ORIGIN)

    assert not isinstance(refused.value, OutcomeUnknown)


async def test_an_outcome_that_does_not_come_in_time_is_unknown_and_repeating_is_safe(world: World) -> None:
    async with world.applier():
        await world.commands_done()
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        sending = Sending(idempotency_key="k", timeout=0.5)
        with pytest.raises(OutcomeUnknown, match="it may be carried out yet"):
            await client.register_project(name="p", remote_origin=ORIGIN, sending=sending)
        async with world.applier():
            await client.register_project(name="p", remote_origin=ORIGIN, sending=Sending(idempotency_key="k"))
            await world.commands_done()

    assert [verdict for *_, verdict in world.outcome_events()] == ["applied"]


async def test_a_command_that_may_be_stored_is_of_unknown_outcome_although_it_is_refused_when_sent_again(
    world: World,
) -> None:
    """As by a NATS that was restarted meanwhile: "not sent" would be a lie, and its event a surprise."""
    async with (
        nats_proxy(world.nats_url) as (proxy, url),
        RegistryClient.connect(url, prefix=world.prefix) as client,
    ):
        async with world.applier():
            await client.register_project(name="first", remote_origin="git@github.com:a/first.git")
            # given a command that is stored and carried out, which its sender does not hear
            proxy.swallow = lambda direction, _: direction == "to_client"
            sending = asyncio.create_task(
                client.register_project(name="p", remote_origin=ORIGIN, sending=Sending(timeout=8))
            )
            async with asyncio.timeout(20):
                while not world.rows("SELECT 1 FROM projects WHERE remote_origin = %s", ORIGIN):
                    await asyncio.sleep(0.01)
        # when nobody takes the subject as it is sent again
        await world.nats.jetstream().delete_stream(world.names.commands.stream)
        proxy.go_on()
        # then
        with pytest.raises(OutcomeUnknown, match="it may be carried out yet"):
            await sending


async def test_a_command_whose_connection_breaks_is_sent_again_and_applied_once(world: World) -> None:
    async with (
        world.applier(),
        nats_proxy(world.nats_url) as (proxy, url),
        RegistryClient.connect(url, prefix=world.prefix) as client,
    ):
        with psycopg.connect(world.database) as conn:
            conn.execute("LOCK TABLE projects")
            sending = asyncio.create_task(client.register_project(name="p", remote_origin=ORIGIN))
            while not world.rows("SELECT FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
            proxy.cut()  # before the outcome, which nobody hears then
        project = await sending

    assert world.rows("SELECT id FROM projects") == [(project,)]
    assert [verdict for *_, verdict in world.outcome_events()] == ["applied"]


@asynccontextmanager
async def subscribed(client: RegistryClient, handler: Any, **options: Any) -> AsyncIterator[None]:
    """A subscription for the block. An error that ends it fails the test."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(client.subscribe(handler, **options))
        try:
            yield
        finally:
            await end([running])


CHANGE = """
INSERT INTO projects (name, remote_origin, trunk_path) VALUES (%s, %s, '/code')
ON CONFLICT (remote_origin) DO UPDATE SET name = EXCLUDED.name
"""


def change_projects(database: str, changes: int, projects: int = 4) -> None:
    """`changes` changes, spread over some projects."""
    with psycopg.connect(database, autocommit=True) as conn:
        for number in range(changes):
            origin = f"git@github.com:a/p{number % projects}.git"
            conn.execute(CHANGE, [f"name-{number}", origin])


class Seen:
    """A handler that notes what it gets; `until` waits for so many different events."""

    def __init__(self) -> None:
        self.sequences: dict[str | None, list[int]] = defaultdict(list)
        self._changed = asyncio.Event()

    async def __call__(self, delivery: Delivery) -> None:
        self.note(delivery)

    def note(self, delivery: Delivery) -> None:
        self.sequences[delivery.project_id].append(delivery.sequence)
        self._changed.set()

    @property
    def distinct(self) -> set[int]:
        return {sequence for sequences in self.sequences.values() for sequence in sequences}

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.distinct) < count:
                self._changed.clear()
                await self._changed.wait()

    def assert_in_order(self) -> None:
        for sequences in self.sequences.values():
            assert sequences == sorted(sequences)


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
    assert len([info for info in consumers if info.name.startswith("d-")]) <= 2


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
