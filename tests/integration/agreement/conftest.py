"""Registries that agree in one bucket, of one replica, on the NATS server of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from publisher.agreement.bucket import Bucket, connect_bucket
from publisher.settings import Settings
from tests.support.world import World


@pytest.fixture
async def agreeing(world: World) -> Settings:
    """Settings of a registry that agrees with others in a bucket of the test's own."""
    name = f"{world.prefix.upper()}_IDS"
    return world.settings(agreement_nats_url=world.nats_url, agreement_bucket=name, agreement_replicas=1)


@pytest.fixture
async def bucket(agreeing: Settings) -> AsyncIterator[Bucket]:
    async with connect_bucket(agreeing, "test") as bucket:
        yield bucket
