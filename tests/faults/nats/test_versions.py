"""Every version of nats-server that existing installations run: what each refuses is found out by asking it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from nats.js.api import StreamConfig, StreamInfo

from publisher.applier.command_stream import CommandStream
from publisher.embedded.nats_server import nats_server
from publisher.history.rebuild import rebuild
from registry.client import Access, RegistryClient
from registry.errors import Busy
from registry.position import After, FromStart, Last
from tests.support import services
from tests.support.everything import everything_works
from tests.support.nats.old import VERSIONS, old_nats_binary
from tests.support.world import World

WITH_BATCHES = {"2.12.1", "2.14.0", "2.15.1"}
MANY = 300
"""Events of one transaction: more than go out as requests of their own where batches are."""

WRITE_MANY = """
SELECT register_project('p' || number, 'git@github.com:a/p' || number || '.git', 'main', '/code/p' || number)
FROM generate_series(1, %s) AS number
"""


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def nats_url(version: str) -> Iterator[str]:
    """A nats-server of this version, of this module's own."""
    with services.scratch_directory() as directory, nats_server(directory, binary=old_nats_binary(version)) as server:
        yield server.url


@pytest.fixture
async def client(world: World, version: str) -> AsyncIterator[RegistryClient]:
    assert f"v{version}" in str(world.nats.connected_server_version)
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as connected:
        yield connected


async def test_a_large_transaction_arrives_whole_and_in_order(world: World, version: str) -> None:
    async with world.relay() as metrics:
        with psycopg.connect(world.database) as writer:
            writer.execute(WRITE_MANY, [MANY])
        await world.drained()
        found = await world.audit()
        assert metrics.problems() == []

    # without batches a transaction may be met in parts
    found._replace(split=[]).assert_clean(at_least=MANY)
    assert len(found.split) <= (version not in WITH_BATCHES)
    # a batch is marked in its headers
    batched = [message for message in await world.published() if "Nats-Batch-Id" in message.headers]
    assert len(batched) == (MANY if version in WITH_BATCHES else 0)


async def test_a_stream_made_before_the_server_was_upgraded_is_used(world: World) -> None:
    config = StreamConfig(name=world.stream, subjects=[f"{world.prefix}.evt.v1.>"], allow_direct=True)
    settings = world.settings()
    config.max_age, config.max_bytes = settings.stream_max_age_days * 86400, settings.stream_max_bytes
    await world.nats.jetstream().add_stream(config)

    async with world.relay() as metrics:
        with psycopg.connect(world.database) as writer:
            writer.execute(WRITE_MANY, [MANY])
        await world.drained()
        (await world.audit())._replace(split=[]).assert_clean(at_least=MANY)
        assert metrics.problems() == []


async def test_a_history_without_events_has_no_last_ones(world: World, client: RegistryClient) -> None:
    async with world.relay(), world.history():
        for start in (Last(1), Last(100), FromStart()):
            assert await world.replayed(start) == []
            assert await world.replayed(start, entity="project", action="updated") == []
            assert await world.replayed(start, agent_id="ada") == []
        assert await world.replayed(After((await client.snapshot()).position)) == []


async def test_everything_works_and_a_lost_stream_is_rebuilt(world: World) -> None:
    await everything_works(world, Access())
    before = await world.replayed()
    await world.delete_stream()

    await rebuild(world.settings())

    assert [event.payload for event in await world.replayed()] == [event.payload for event in before]
    await everything_works(world, Access(), origin="git@github.com:a/q.git")


async def test_a_full_stream_of_commands_is_busy(world: World, client: RegistryClient) -> None:
    async with world.applier(commands_max_messages=1):
        pass
    await client.post("project.register", {"name": "p", "remote_origin": "git@github.com:a/p.git"})
    with pytest.raises(Busy):
        await client.post("project.register", {"name": "q", "remote_origin": "git@github.com:a/q.git"})
    async with world.applier():
        await world.commands_done()


async def test_a_limit_that_is_lowered_under_what_waits_removes_nothing(world: World, client: RegistryClient) -> None:
    """A server removes the oldest commands of a subject with more than it may hold, though it refuses new ones."""
    jetstream, name = world.nats.jetstream(), world.names.commands.stream

    async def opened(**settings: object) -> StreamInfo:
        await CommandStream(world.nats, world.profile, world.settings(**settings)).open()
        return await jetstream.stream_info(name)

    await opened(commands_max_per_sender=0)
    for number in range(6):
        await client.post("project.register", {"name": "p", "remote_origin": f"git@github.com:a/p{number}.git"})

    found = await opened(commands_max_per_sender=4, commands_max_messages=5, commands_max_bytes=64 * 1024)

    assert (found.state.messages, found.config.max_msgs, found.config.max_msgs_per_subject) == (6, 5, -1)
    async with world.applier(commands_max_per_sender=0):
        await world.commands_done()
    assert world.rows("SELECT count(*) FROM projects") == [(6,)]
    found = await opened(commands_max_per_sender=4)
    assert (found.config.max_msgs_per_subject, found.config.discard_new_per_subject) == (4, True)


async def test_commands_queries_snapshot_and_replay_work(world: World, client: RegistryClient) -> None:
    async with world.relay(), world.applier(), world.history(), world.queries():
        project_id = await client.register_project(name="p", remote_origin="git@github.com:a/p.git")

        assert (await client.queries.project_by_id(project_id)).name == "p"
        assert list((await client.snapshot()).projects) == [project_id]
        await world.drained()
        assert [event.subject.split(".")[3:5] for event in await world.replayed(Last(2))] == [
            ["project", "registered"],
            ["command", "applied"],
        ]
