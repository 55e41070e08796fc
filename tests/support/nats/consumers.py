"""Consumers of a stream as a stranger who may use JetStream's API finds, deletes and makes them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from tests.support.nats.api import AGAIN_SECONDS, ask
from tests.support.nats.cluster import Cluster

NOT_FOUND = 10014


async def newest_of(cluster: Cluster, stream: str, durable: str) -> dict[str, Any]:
    """The information about the newest consumer of a durable subscription, once the list has one."""
    name = re.compile(re.escape(durable) + r"-(\d+)")
    while True:
        found = (await ask(cluster, f"CONSUMER.LIST.{stream}", {}))["consumers"] or []  # without those of no leader
        numbered = {int(match[1]): info for info in found if (match := name.fullmatch(info["name"]))}
        if numbered:
            return dict(numbered[max(numbered)])
        await asyncio.sleep(AGAIN_SECONDS)


async def delete_consumer(cluster: Cluster, stream: str, name: str) -> None:
    """Delete a consumer, or find that it is gone."""
    await ask(cluster, f"CONSUMER.DELETE.{stream}.{name}", {}, done=NOT_FOUND)


async def make_consumer(cluster: Cluster, stream: str, config: dict[str, Any]) -> None:
    """Make a durable consumer; `config` has its name, and is as NATS has it."""
    request = {"stream_name": stream, "config": config}
    await ask(cluster, f"CONSUMER.DURABLE.CREATE.{stream}.{config['name']}", request)


async def is_there(cluster: Cluster, stream: str, name: str) -> bool:
    """Whether a consumer of this name exists."""
    return "error" not in await ask(cluster, f"CONSUMER.INFO.{stream}.{name}", {}, done=NOT_FOUND)
