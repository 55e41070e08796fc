"""The source behind a leaf node, and streams made of its stream: one that mirrors it, and one with `sources`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import ExternalStream, StreamSource

from registry.errors import Conflict
from tests.support.databases import Role, new_database
from tests.support.mirror.mirrors import Mirror
from tests.support.nats.process import NatsProcess, free_port, nats_process
from tests.support.outbox.changes import rename_project
from tests.support.world import World


class Places(NamedTuple):
    """The NATS of the source, and a leaf node of it at the other site; each has a JetStream of its own."""

    hub: NatsProcess
    leaf: NatsProcess


@pytest.fixture
def places(state_dir: Path) -> Iterator[Places]:
    port = free_port()
    configured = {"hub": {"listen": f"127.0.0.1:{port}"}, "leaf": {"remotes": [{"url": f"nats://127.0.0.1:{port}"}]}}
    folders = [state_dir / name for name in configured]
    for folder in folders:
        folder.mkdir()
    hub, leaf = (
        nats_process(
            state_dir / name,
            server_name=name,
            jetstream={"store_dir": str(state_dir / name), "domain": name},
            leafnodes=nodes,
        )
        for name, nodes in configured.items()
    )
    with hub as one, leaf as other:
        yield Places(one, other)


async def connected(server: NatsProcess) -> AsyncIterator[Client]:
    client = await nats.connect(server.url())
    yield client
    await client.close()


@pytest.fixture
async def source(world: World, places: Places) -> AsyncIterator[World]:
    """The registry, with all that serves mirrors, at the hub."""
    async for client in connected(places.hub):
        there = world.at(nats_url=places.hub.url(), nats=client)
        async with there.relay(), there.history(), there.queries():
            yield there


@pytest.fixture
def mirror(source: World, admin_url: str, owner: Role, template_database: str) -> Iterator[Mirror]:
    with new_database(admin_url, owner, template_database) as database:
        yield Mirror(source, database)


async def test_a_source_is_followed_by_way_of_a_leaf_node_that_is_cut_off_and_comes_back(
    source: World, mirror: Mirror, places: Places
) -> None:
    source.write()
    async with mirror.following(mirror_nats_url=places.leaf.url(), mirror_js_domain="hub"):
        await mirror.assert_same()
        places.leaf.stop()
        rename_project(source.database, 5)
        places.leaf.start()
        await mirror.assert_same()
    assert mirror.state("snapshots") == (1,)


async def test_a_stream_at_the_leaf_node_that_mirrors_that_of_the_source_is_followed(
    source: World, mirror: Mirror, places: Places
) -> None:
    source.write()
    await source.drained()
    async for client in connected(places.leaf):
        copied = StreamSource(name=source.stream, external=ExternalStream(api="$JS.hub.API"))
        await client.jetstream().add_stream(name="COPY", mirror=copied)
        async with mirror.following(mirror_nats_url=places.leaf.url(), mirror_stream="COPY"):
            await mirror.assert_same()
            rename_project(source.database, 5)
            await mirror.assert_same()
    assert mirror.state("snapshots") == (1,)


async def test_a_stream_with_sources_is_refused_since_its_sequences_are_its_own(
    source: World, mirror: Mirror, places: Places
) -> None:
    source.write()
    await source.drained()
    async for client in connected(places.leaf):
        copied = StreamSource(name=source.stream, external=ExternalStream(api="$JS.hub.API"))
        await client.jetstream().add_stream(name="GATHERED", sources=[copied])
        with pytest.raises(Conflict, match="stream GATHERED has sources: its sequences are not those of headquarters"):
            await mirror.follower(mirror_nats_url=places.leaf.url(), mirror_stream="GATHERED").run()
    assert mirror.state("snapshots") == (0,)
