"""What the tests of this room have in common: a client, and tries that follow each other quickly."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from registry.client import RegistryClient
from tests.support.world import World


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.client.subscriber.RETRY_SECONDS", (0.01, 0.02))
    monkeypatch.setattr("registry.client.poison.LOOK_SECONDS", 0.05)


@pytest.fixture
async def client(world: World) -> AsyncIterator[RegistryClient]:
    async with RegistryClient.connect(
        world.nats_url, prefix=world.prefix, profile=world.settings().profile, proposed=True, name="here"
    ) as connected:
        yield connected
