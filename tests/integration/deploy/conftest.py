"""What the tests of this room have in common: a world on the server that a module calls `deployed`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from registry.broker.connection import connect_nats
from registry.client import Access
from tests.support.nats.deployed import Deployed
from tests.support.world import World


@pytest.fixture
async def there(world: World, deployed: Deployed) -> AsyncIterator[World]:
    """A world there, where no stream is left of the test before."""
    async with connect_nats(deployed.url, "test", Access(**deployed.access("operator"))) as operator:
        yield world.at(nats_url=deployed.url, prefix="imi", nats=operator)
        for stream in await operator.jetstream().streams_info():
            await operator.jetstream().delete_stream(stream.config.name)
