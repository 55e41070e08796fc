"""A user of another account of the same nats-server, who may do anything there, hears nothing of us and harms none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from registry.client import RegistryClient
from tests.support.commands import PROJECT, envelope
from tests.support.nats.process import nats_process
from tests.support.nats.reading import connected
from tests.support.services import scratch_directory
from tests.support.world import World

FLOOD = 2_000


@pytest.fixture(scope="module")
def server_port() -> Iterator[int]:
    """A server with two accounts that share nothing."""
    accounts = {
        name: {"jetstream": "enabled", "users": [{"user": name.lower(), "password": "word"}]}
        for name in ("REGISTRY", "OTHER")
    }
    with scratch_directory() as folder, nats_process(folder, accounts=accounts) as server:
        yield server.port


@pytest.fixture
async def there(world: World, server_port: int) -> AsyncIterator[World]:
    url = f"nats://registry:word@127.0.0.1:{server_port}"
    async with connected(url) as client:
        yield world.at(nats_url=url, nats=client)
        for stream in await client.jetstream().streams_info():
            await client.jetstream().delete_stream(stream.config.name)


@pytest.fixture
async def stranger(server_port: int) -> AsyncIterator[Client]:
    async with connected(f"nats://other:word@127.0.0.1:{server_port}") as client:
        yield client
        for stream in await client.jetstream().streams_info():
            await client.jetstream().delete_stream(stream.config.name)


async def test_another_account_hears_nothing_of_the_registry(there: World, stranger: Client) -> None:
    heard: list[str] = []

    async def hear(message: Any) -> None:
        heard.append(message.subject)

    async with there.relay(), there.applier(), there.queries(), there.history():
        with pytest.raises(nats.errors.NoRespondersError):
            await stranger.request(f"{there.prefix}.qry.v1.stats", b"{}", timeout=60)
        with pytest.raises(NotFoundError):
            await stranger.jetstream().get_msg(there.stream, 1)
        for subject in (">", "$JS.>", "_INBOX.>"):
            await stranger.subscribe(subject, cb=hear)
        await stranger.flush()
        async with RegistryClient.connect(there.nats_url, prefix=there.prefix) as client:
            project = await client.register_project(**PROJECT)
            assert (await client.queries.project_by_id(project)).name == PROJECT["name"]
        await there.assert_exactly_once()
    await stranger.publish("own", b"")
    async with asyncio.timeout(60):
        while "own" not in heard:
            await asyncio.sleep(0.01)
    assert [subject for subject in heard if there.prefix in subject.lower()] == []


async def test_what_another_account_says_and_deletes_under_our_names_is_its_own(there: World, stranger: Client) -> None:
    async with there.relay(), there.applier():
        there.write()
        await there.drained()
        jetstream = stranger.jetstream()
        for name, subject in ((there.stream, "evt.v1.>"), (there.names.commands.stream, "cmd.>")):
            with pytest.raises(NotFoundError):
                await jetstream.purge_stream(name)
            with pytest.raises(NotFoundError):
                await jetstream.delete_stream(name)
            await jetstream.add_stream(name=name, subjects=[f"{there.prefix}.{subject}"])
        forged = json.dumps({"type": "imi.project.registered.v1"}).encode()
        await jetstream.publish(f"{there.prefix}.evt.v1.project.registered.-", forged)
        for _ in range(FLOOD):
            await stranger.publish(
                there.names.commands.command_subject("project.register"), envelope("project.register", PROJECT)
            )
        await stranger.flush()
        for name in (there.stream, there.names.commands.stream):
            await jetstream.purge_stream(name)
            await jetstream.delete_stream(name)

        outcome = await there.ask("project.register", envelope("project.register", PROJECT))
        assert outcome["verdict"] == "applied"
        await there.assert_exactly_once()
    assert there.rows("SELECT count(*) FROM command_ledger") == [(1,)]
