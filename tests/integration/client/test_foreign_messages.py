"""Whoever may publish on the subjects of the event stream: a reader gets events of its registry and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import LiteralString

import orjson
import psycopg
import pytest

from registry.client import Delivery, RegistryClient
from registry.concurrency.tasks import end
from registry.events.message import EVENT_ID_HEADER, OUTBOX_ID_HEADER
from tests.support.world import World

FOREIGN: list[tuple[bytes, dict[str, str] | None]] = [
    (b"", None),
    (b"\xff", {OUTBOX_ID_HEADER: "1"}),
    (b"{}", {OUTBOX_ID_HEADER: "nonsense", EVENT_ID_HEADER: "too", "Imi-Source": "urn:33god:service:imi-registry"}),
    (b"{}", {"Imi-Source": "urn:33god:service:other"}),
]

Read = Callable[[RegistryClient, str | None, list[str], asyncio.Event], Awaitable[None]]


async def subscribed(client: RegistryClient, action: str | None, seen: list[str], ready: asyncio.Event) -> None:
    async def handle(delivery: Delivery) -> None:
        seen.append(project_name(delivery))

    ready.set()
    await client.subscribe(handle, durable="d", entity="project", action=action, from_start=True)


async def tailed(client: RegistryClient, action: str | None, seen: list[str], ready: asyncio.Event) -> None:
    async with client.tail(entity="project", action=action) as deliveries:
        ready.set()
        async for delivery in deliveries:
            seen.append(project_name(delivery))


@pytest.mark.parametrize("read", [subscribed, tailed])
@pytest.mark.parametrize(
    ("action", "expected"), [(None, ["first", "first", "last"]), ("registered", ["first", "last"])]
)
async def test_messages_of_others_are_passed_over(
    world: World, profile: str, read: Read, action: str | None, expected: list[str]
) -> None:
    seen: list[str] = []
    ready = asyncio.Event()
    async with (
        world.relay(),
        RegistryClient.connect(
            world.nats_url,
            prefix=world.prefix,
            profile=profile,  # type: ignore[arg-type]
            proposed=True,
        ) as client,
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(read(client, action, seen, ready))
        async with asyncio.timeout(30):
            await ready.wait()

            await asyncio.to_thread(
                write, world.database, "SELECT register_project('first', 'git@github.com:a/first.git')"
            )
            await world.drained()
            for payload, headers in FOREIGN:
                await world.nats.jetstream().publish(world.foreign_subject, payload, headers=headers)
            await asyncio.to_thread(write, world.database, "UPDATE projects SET description = 'd'")
            await asyncio.to_thread(
                write, world.database, "SELECT register_project('last', 'git@github.com:a/last.git')"
            )
            while "last" not in seen:
                await asyncio.sleep(0.01)
        await end([running])

    assert seen == expected


def project_name(delivery: Delivery) -> str:
    name: str = orjson.loads(delivery.payload)["data"]["name"]
    return name


def write(database: str, statement: LiteralString) -> None:
    with psycopg.connect(database) as conn:
        conn.execute(statement)
