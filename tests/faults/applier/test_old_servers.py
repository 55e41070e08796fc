"""Commands on NATS 2.10, and on the pipeline's work queue that others own and use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import orjson
import pytest
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig

from publisher.embedded.nats_server import nats_server
from registry.client import RegistryClient, Sending
from tests.faults.applier.test_applier import Senders
from tests.support import services
from tests.support.commands import envelope
from tests.support.nats.old import old_nats_binary
from tests.support.world import World

PROJECT = {"name": "p", "remote_origin": "git@github.com:a/p.git"}
QUEUE = "BLOODBANK_COMMANDS"


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    """A nats-server 2.10 of this module's own."""
    with services.scratch_directory() as directory, nats_server(directory, binary=old_nats_binary()) as server:
        yield server.url


@pytest.fixture
async def world(world: World) -> AsyncIterator[World]:
    """Where no stream is left of the test before."""
    yield world
    for stream in await world.nats.jetstream().streams_info():
        await world.nats.jetstream().delete_stream(stream.config.name)


@pytest.fixture
async def queue(world: World) -> None:
    """The pipeline's queue as it exists there, with another service that takes its own commands from it."""
    subjects = ["bloodbank.cmd.>", "bloodbank.rpy.>"]
    await world.nats.jetstream().add_stream(
        StreamConfig(name=QUEUE, subjects=subjects, retention=RetentionPolicy.WORK_QUEUE, max_age=7 * 86400)
    )
    theirs = ConsumerConfig(durable_name="builder", filter_subject="bloodbank.cmd.artifact.>")
    await world.nats.jetstream().add_consumer(QUEUE, theirs)


async def test_nats_2_10_carries_commands_in_order_across_lost_consumers(world: World) -> None:
    senders = Senders(world, 1)

    async with world.applier():
        for _ in range(3):
            await senders.send(50)
            for consumer in await world.nats.jetstream().consumers_info(world.names.commands.stream):
                await world.nats.jetstream().delete_consumer(world.names.commands.stream, consumer.name)
        await world.commands_done()
        assert (await world.ask("project.update", envelope("project.update", {})))["code"] == "VALIDATION_ERROR"

    assert len(world.outcome_events()) == 151


async def test_on_the_shared_queue_only_our_commands_are_taken_and_nothing_is_altered(
    world: World, queue: None
) -> None:
    # given
    before = (await world.nats.jetstream().stream_info(QUEUE)).config
    command_id = str(uuid4())
    attributes = {
        "id": str(uuid4()),
        "command_id": command_id,
        "idempotency_key": "k",
        "delivery": 1,
        "type": "bloodbank.workspace.project.register",
        "actor": {"type": "agent", "agent_id": "ada"},
    }
    payload = orjson.dumps(orjson.loads(envelope("project.register", PROJECT)) | attributes)

    async with world.applier(profile="bloodbank"):
        # when
        await world.nats.jetstream().publish("bloodbank.cmd.artifact.build.start", b"{}")
        await world.nats.jetstream().publish("bloodbank.cmd.workspace.project.register", payload)
        replies = await world.nats.jetstream().pull_subscribe(
            "bloodbank.rpy.workspace.>", stream=QUEUE, durable="flume"
        )
        (reply,) = await replies.fetch(1, timeout=20)
        await reply.ack_sync()
        async with RegistryClient.connect(
            world.nats_url, prefix=world.prefix, profile="bloodbank", proposed=True
        ) as client:
            again = await client.register_project(**PROJECT, sending=Sending(actor="bob"))
        async with asyncio.timeout(20):
            while (state := (await world.nats.jetstream().stream_info(QUEUE)).state).messages > 1:
                await asyncio.sleep(0.01)

    # then
    assert reply.subject == "bloodbank.rpy.workspace.project.create"
    assert orjson.loads(reply.data)["causationid"] == command_id
    outcome = orjson.loads(reply.data)["data"]
    assert (outcome["command_id"], outcome["verdict"]) == (command_id, "applied")
    assert str(again) == outcome["result"]["project_id"]
    assert state.messages == 1  # theirs; the outcome for who gave an inbox is not left lying in the queue
    assert (await world.nats.jetstream().stream_info(QUEUE)).config == before
    assert world.rows("SELECT DISTINCT actor FROM outbox WHERE entity = 'project'") == [("ada",)]


async def test_a_shared_queue_that_does_not_exist_yet_is_waited_for(world: World) -> None:
    async with world.applier(profile="bloodbank") as metrics:
        assert metrics.problems() != []
        await world.nats.jetstream().add_stream(
            StreamConfig(name=QUEUE, subjects=["bloodbank.cmd.>"], retention=RetentionPolicy.WORK_QUEUE)
        )

        async with RegistryClient.connect(
            world.nats_url, prefix=world.prefix, profile="bloodbank", proposed=True
        ) as client:
            await client.register_project(**PROJECT)

        assert metrics.problems() == []
