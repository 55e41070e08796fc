"""What the tests of this room have in common: the pipeline's streams, in either grammar, on a server of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from nats.js.api import RetentionPolicy, StreamConfig

from publisher.embedded.nats_server import nats_server
from registry.profiles.bloodbank import COMMAND_STREAM, STREAM
from tests.support import services
from tests.support.world import World


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    """A nats-server of this module's own: the shared streams have one name."""
    with services.scratch_directory() as directory, nats_server(directory) as server:
        yield server.url


@pytest.fixture(params=["plain", "v1"])
def grammar(request: pytest.FixtureRequest) -> str:
    """Each of the two grammars."""
    return str(request.param)


@pytest.fixture
async def pipeline(world: World, grammar: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """In the profile bloodbank, with the streams as they are bound in this grammar."""
    monkeypatch.setenv("IMI_PROFILE", "bloodbank")
    version = "v1." if grammar == "v1" else ""
    jetstream = world.nats.jetstream()
    await jetstream.add_stream(StreamConfig(name=STREAM, subjects=[f"bloodbank.evt.{version}>"]))
    subjects = [f"bloodbank.cmd.{version}>", f"bloodbank.rpy.{version}>"]
    queue = StreamConfig(name=COMMAND_STREAM, subjects=subjects, retention=RetentionPolicy.WORK_QUEUE)
    await jetstream.add_stream(queue)
    yield world
    for stream in (STREAM, COMMAND_STREAM):
        await jetstream.delete_stream(stream)
