"""The configuration of a stream as an operator reads and writes it: all of it, whatever a client library knows."""

from __future__ import annotations

from typing import Any

from tests.support.nats.api import ask
from tests.support.nats.cluster import Cluster

Configuration = dict[str, Any]
NOT_FOUND = 10059


async def configuration(cluster: Cluster, stream: str) -> tuple[Configuration, int]:
    """The stream's configuration, and how many messages it holds."""
    found = await ask(cluster, f"STREAM.INFO.{stream}", {})
    return found["config"], found["state"]["messages"]


async def configure_stream(cluster: Cluster, wanted: Configuration) -> None:
    """Give a stream this configuration, which names it."""
    await ask(cluster, f"STREAM.UPDATE.{wanted['name']}", wanted)


async def recreate_stream(cluster: Cluster, stream: str) -> None:
    """Delete a stream, and make one that looks the same, and holds nothing."""
    before, _ = await configuration(cluster, stream)
    await delete_stream(cluster, stream)
    await ask(cluster, f"STREAM.CREATE.{stream}", before)


async def delete_stream(cluster: Cluster, stream: str) -> None:
    """Delete a stream, or find that it is gone."""
    await ask(cluster, f"STREAM.DELETE.{stream}", {}, done=NOT_FOUND)
