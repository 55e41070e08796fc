"""All that a registry does over NATS, through the service and the client, in a few calls."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from registry.client import Access, Delivery, RegistryClient
from registry.concurrency.tasks import end
from registry.position import Last
from tests.support.world import World


def variables(access: Access) -> dict[str, str]:
    """The settings that mean this access."""
    given = {field.name: getattr(access, field.name) for field in dataclasses.fields(Access)}
    blank = Access()
    return {f"IMI_NATS_{name.upper()}": str(value) for name, value in given.items() if value != getattr(blank, name)}


async def everything_works(world: World, access: Access, origin: str = "git@github.com:a/p.git") -> None:
    """A command is carried out, its event arrives in every way, and queries are answered."""
    async with world.relay() as relay, world.applier() as applier, world.history(), world.queries():
        async with RegistryClient.connect(world.nats_url, prefix=world.prefix, access=access) as client:
            async with client.tail(entity="project") as events, asyncio.timeout(20):
                project = await client.register_project(name="p", remote_origin=origin)
                assert (await anext(events)).project_id == str(project)
            assert (await client.queries.project_by_id(project)).name == "p"
            assert project in (await client.snapshot()).projects
            async with asyncio.timeout(20), client.replay(Last(2)) as replayed:
                assert len([event async for event in replayed]) == 2
            assert (await first_handled(client, entity="project")).event.name == "project.registered"
        assert relay.problems() == applier.problems() == []


async def first_handled(client: RegistryClient, **wanted: Any) -> Delivery:
    """The first event that a new durable subscription handles."""
    handled: asyncio.Queue[Delivery] = asyncio.Queue()
    subscription = asyncio.ensure_future(client.subscribe(handled.put, durable="everything", from_start=True, **wanted))
    try:
        async with asyncio.timeout(20):
            return await handled.get()
    finally:
        await end([subscription])
