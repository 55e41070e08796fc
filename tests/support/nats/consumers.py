"""Consumers of a stream as a stranger who may use JetStream's API finds, deletes and makes them."""

from __future__ import annotations

import re
from typing import Any

from tests.support.nats.api import ask
from tests.support.nats.cluster import Cluster

NOT_FOUND = 10014


async def newest_of(cluster: Cluster, stream: str, durable: str) -> dict[str, Any]:
    """The information about the newest consumer of a durable subscription, of which there is one at least."""
    name = re.compile(re.escape(durable) + r"-(\d+)")
    found = (await ask(cluster, f"CONSUMER.LIST.{stream}", {}))["consumers"]
    numbered = [(int(match[1]), info) for info in found if (match := name.fullmatch(info["name"]))]
    return dict(max(numbered, key=lambda pair: pair[0])[1])


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
