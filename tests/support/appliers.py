"""An applier inside the test's own event loop, and commands as bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from publisher.applier.applier import Applier
from publisher.applier.metrics import ApplierMetrics
from registry.concurrency.tasks import end
from registry.subjects import Names
from tests.support.relays import settings_for


@asynccontextmanager
async def running_applier(
    database: str, nats_url: str, prefix: str, **overrides: object
) -> AsyncIterator[ApplierMetrics]:
    """An applier that leads or stands by inside the block. An error that ends it fails the test."""
    metrics = ApplierMetrics(CollectorRegistry())
    applier = Applier(settings_for(database, nats_url, prefix, **overrides), metrics)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(applier.run())
        async with asyncio.timeout(20):
            await applier.settled.wait()
        try:
            yield metrics
        finally:
            await end([running])


def envelope(name: str, data: Any, **attributes: object) -> bytes:
    """A command as a component in any language would write it."""
    fixed = {"specversion": "1.0", "id": str(uuid4()), "source": "urn:test", "type": f"imi.{name}.v1", "data": data}
    return orjson.dumps(fixed | attributes)


async def publish(nats: Client, prefix: str, name: str, payload: bytes) -> None:
    """Store a command in the stream."""
    await nats.jetstream().publish(Names(prefix).commands.command_subject(name), payload)


async def ask(nats: Client, prefix: str, name: str, payload: bytes) -> dict[str, Any]:
    """Send a command with an inbox and return the outcome."""
    inbox = nats.new_inbox()
    subscription = await nats.subscribe(inbox)
    await publish(nats, prefix, name, orjson.dumps(orjson.loads(payload) | {"replyto": inbox}))
    answer = await subscription.next_msg(timeout=20)
    await subscription.unsubscribe()
    outcome: dict[str, Any] = orjson.loads(answer.data)
    return outcome


async def until_empty(nats: Client, prefix: str, timeout_seconds: float = 30) -> None:
    """Wait until every command is carried out, or a dead letter."""
    async with asyncio.timeout(timeout_seconds):
        while (await nats.jetstream().stream_info(Names(prefix).commands.stream)).state.messages:
            await asyncio.sleep(0.01)


def rows(database: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query finds."""
    with psycopg.connect(database, autocommit=True) as conn:
        return conn.execute(query.encode(), values).fetchall()


def outcome_events(database: str) -> list[tuple[UUID, str, UUID, str]]:
    """Command id, action, causation id and verdict of every outcome event, in order."""
    return rows(
        database,
        "SELECT entity_id, action, causation_id, data ->> 'verdict' FROM outbox WHERE entity = 'command' ORDER BY id",
    )
