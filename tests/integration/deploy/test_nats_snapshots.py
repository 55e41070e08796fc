"""A snapshot of several parts, each of which its reader confirms, passes from the registry's account into others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.nats.deployed import Deployed, deployed_server, service
from tests.support.world import World

PROJECTS = 4
TEXT = "y" * 900_000
"""With the other projects more than the publisher sends at once."""


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with deployed_server(has_teams=True) as server:
        yield server


async def test_a_reader_outside_gets_a_snapshot_of_several_parts(there: World, deployed: Deployed) -> None:
    async with service(there, deployed):
        async with deployed.client("command") as client:
            for number in range(PROJECTS):
                origin = f"git@github.com:a/p{number}.git"
                await client.register_project(name="p", remote_origin=origin, metadata={"text": TEXT})
        for user in ("live", "panel"):
            async with deployed.client(user) as client, asyncio.timeout(60):
                assert len((await client.snapshot()).projects) == PROJECTS
