"""Commands on NATS 2.10, and on the pipeline's work queue that others own and use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import nats as nats_py
import orjson
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig

from publisher.embedded.nats_server import nats_server
from registry.client import RegistryClient, Sending
from tests.faults.test_applier import Senders
from tests.support import services
from tests.support.appliers import ask, envelope, outcome_events, rows, running_applier, until_empty
from tests.support.old_nats import old_nats_binary

PROJECT = {"name": "p", "remote_origin": "git@github.com:a/p.git"}
QUEUE = "BLOODBANK_COMMANDS"


@pytest.fixture(scope="module")
def old_url() -> Iterator[str]:
    """A nats-server 2.10 of this module's own."""
    with services.scratch_directory() as directory, nats_server(directory, binary=old_nats_binary()) as server:
        yield server.url


@pytest.fixture
async def old(old_url: str) -> AsyncIterator[Client]:
    client = await nats_py.connect(old_url)
    yield client
    for stream in await client.jetstream().streams_info():
        await client.jetstream().delete_stream(stream.config.name)
    await client.close()


@pytest.fixture
async def queue(old: Client) -> None:
    """The pipeline's queue as it exists there, with another service that takes its own commands from it."""
    subjects = ["bloodbank.cmd.>", "bloodbank.rpy.>"]
    await old.jetstream().add_stream(
        StreamConfig(name=QUEUE, subjects=subjects, retention=RetentionPolicy.WORK_QUEUE, max_age=7 * 86400)
    )
    theirs = ConsumerConfig(durable_name="builder", filter_subject="bloodbank.cmd.artifact.>")
    await old.jetstream().add_consumer(QUEUE, theirs)


async def test_nats_2_10_carries_commands_in_order_across_lost_consumers(
    database: str, old_url: str, old: Client
) -> None:
    senders = Senders(old, "own", 1)
    async with running_applier(database, old_url, "own"):
        for _ in range(3):
            await senders.send(50)
            for consumer in await old.jetstream().consumers_info("OWN_COMMANDS"):
                await old.jetstream().delete_consumer("OWN_COMMANDS", consumer.name)
        await until_empty(old, "own")
        assert (await ask(old, "own", "project.update", envelope("project.update", {})))["code"] == "VALIDATION_ERROR"
    assert len(outcome_events(database)) == 151


async def test_on_the_shared_queue_only_our_commands_are_taken_and_nothing_is_altered(
    database: str, old_url: str, old: Client, queue: None
) -> None:
    # given
    before = (await old.jetstream().stream_info(QUEUE)).config
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
    async with running_applier(database, old_url, "own", profile="bloodbank"):
        # when
        await old.jetstream().publish("bloodbank.cmd.artifact.build.start", b"{}")
        await old.jetstream().publish("bloodbank.cmd.workspace.project.register", payload)
        replies = await old.jetstream().pull_subscribe("bloodbank.rpy.workspace.>", stream=QUEUE, durable="flume")
        (reply,) = await replies.fetch(1, timeout=20)
        await reply.ack_sync()
        async with RegistryClient.connect(old_url, prefix="own", profile="bloodbank") as client:
            again = await client.register_project(**PROJECT, sending=Sending(actor="bob"))
        async with asyncio.timeout(20):
            while (state := (await old.jetstream().stream_info(QUEUE)).state).messages > 1:
                await asyncio.sleep(0.01)
    # then
    outcome = orjson.loads(reply.data)
    assert reply.subject == f"bloodbank.rpy.workspace.project.register.{command_id}"
    assert (outcome["command_id"], outcome["verdict"]) == (command_id, "applied")
    assert str(again) == outcome["result"]["project_id"]
    assert state.messages == 1  # theirs; the outcome for who gave an inbox is not left lying in the queue
    assert (await old.jetstream().stream_info(QUEUE)).config == before
    assert rows(database, "SELECT DISTINCT actor FROM outbox WHERE entity = 'project'") == [("ada",)]


async def test_a_shared_queue_that_does_not_exist_yet_is_waited_for(database: str, old_url: str, old: Client) -> None:
    async with running_applier(database, old_url, "own", profile="bloodbank") as metrics:
        assert metrics.problems() != []
        await old.jetstream().add_stream(
            StreamConfig(name=QUEUE, subjects=["bloodbank.cmd.>"], retention=RetentionPolicy.WORK_QUEUE)
        )
        async with RegistryClient.connect(old_url, prefix="own", profile="bloodbank") as client:
            await client.register_project(**PROJECT)
        assert metrics.problems() == []
