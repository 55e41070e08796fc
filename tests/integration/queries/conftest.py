"""What the tests of this room have in common: the query service, a client of it, and the database behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from registry.client.queries import QueryClient
from registry.database import Registry
from tests.support.world import World


@pytest.fixture
async def service(world: World) -> AsyncIterator[None]:
    async with world.queries():
        yield


@pytest.fixture
async def registry(database: str) -> AsyncIterator[Registry]:
    async with Registry.connect(database) as connected:
        yield connected


@pytest.fixture
def queries(service: None, world: World) -> QueryClient:
    return QueryClient(world.nats, world.names)
