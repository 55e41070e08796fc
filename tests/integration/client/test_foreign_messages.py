"""Whoever may publish on the subjects of the event stream: a reader gets events of its registry and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import LiteralString

import orjson
import psycopg
import pytest
from nats.aio.client import Client
from tests.support.relays import running_relay, until_drained

from registry.client import Delivery, RegistryClient
from registry.concurrency.tasks import end
from registry.events.message import EVENT_ID_HEADER, OUTBOX_ID_HEADER
from tests.support.histories import foreign_subject, stream_of

FOREIGN: list[tuple[bytes, dict[str, str] | None]] = [
    (b"", None),
    (b"\xff", {OUTBOX_ID_HEADER: "1"}),
    (b"{}", {OUTBOX_ID_HEADER: "nonsense", EVENT_ID_HEADER: "too", "Imi-Source": "urn:imi:registry"}),
    (b"{}", {"Imi-Source": "urn:imi:other"}),
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
    database: str,
    nats_url: str,
    nats: Client,
    prefix: str,
    profile: str,
    read: Read,
    action: str | None,
    expected: list[str],
) -> None:
    seen: list[str] = []
    ready = asyncio.Event()
    async with (
        running_relay(database, nats_url, prefix),
        RegistryClient.connect(nats_url, prefix=prefix, profile=profile) as client,  # type: ignore[arg-type]
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(read(client, action, seen, ready))
        async with asyncio.timeout(30):
            await ready.wait()
            await asyncio.to_thread(write, database, "SELECT register_project('first', 'git@github.com:a/first.git')")
            await until_drained(database, prefix, stream=stream_of(prefix))
            for payload, headers in FOREIGN:
                await nats.jetstream().publish(foreign_subject(prefix), payload, headers=headers)
            await asyncio.to_thread(write, database, "UPDATE projects SET description = 'd'")
            await asyncio.to_thread(write, database, "SELECT register_project('last', 'git@github.com:a/last.git')")
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
