"""`RegistryClient`: typed commands, and what their errors mean."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import orjson
import pytest

from registry.broker.connection import flushed
from registry.client import RegistryClient, Sending
from registry.database import Registry
from registry.errors import Conflict, Invalid, NotFound
from tests.support.commands import ORIGIN
from tests.support.world import World


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
