"""The pipeline's shared stream on a nats-server of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from publisher.embedded.nats_server import nats_server
from registry.profiles.bloodbank import STREAM
from tests.support import services
from tests.support.world import World

LEAST_WINDOW_SECONDS = 60.0


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    """A nats-server of this module's own: the shared stream has one name."""
    with services.scratch_directory() as directory, nats_server(directory) as server:
        yield server.url


@pytest.fixture
async def shared(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """The profile of the pipeline, and its event stream, which remembers ids no longer than it has to."""
    monkeypatch.setenv("IMI_PROFILE", "bloodbank")
    monkeypatch.setenv("IMI_BLOODBANK_PROPOSED", "true")
    await world.create_shared_stream(duplicate_window=LEAST_WINDOW_SECONDS)
    yield world
    await world.nats.jetstream().delete_stream(STREAM)
