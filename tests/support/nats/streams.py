"""The configuration of a stream as an operator reads and writes it: all of it, whatever a client library knows."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import nats.errors

from tests.support.nats.cluster import Cluster
from tests.support.nats.reading import connected

Configuration = dict[str, Any]
ANSWER_SECONDS = 2.0
AGAIN_SECONDS = 0.1
NOT_FOUND = 10059


async def configuration(cluster: Cluster, stream: str) -> tuple[Configuration, int]:
    """The stream's configuration, and how many messages it holds."""
    found = await _ask(cluster, f"INFO.{stream}", {})
    return found["config"], found["state"]["messages"]


async def configure_stream(cluster: Cluster, wanted: Configuration) -> None:
    """Give a stream this configuration, which names it."""
    await _ask(cluster, f"UPDATE.{wanted['name']}", wanted)


async def recreate_stream(cluster: Cluster, stream: str) -> None:
    """Delete a stream, and make one that looks the same, and holds nothing."""
    before, _ = await configuration(cluster, stream)
    await delete_stream(cluster, stream)
    await _ask(cluster, f"CREATE.{stream}", before)


async def delete_stream(cluster: Cluster, stream: str) -> None:
    """Delete a stream, or find that it is gone."""
    await _ask(cluster, f"DELETE.{stream}", {}, done=NOT_FOUND)


async def _ask(cluster: Cluster, what: str, request: Configuration, done: int = 0) -> Any:
    """The answer, asked for until it is no error; a cluster without a leader has none, or one. `done` is no error."""
    while True:
        with suppress(nats.errors.Error, TimeoutError, OSError):
            async with connected(cluster.nodes_up()) as client:
                payload = json.dumps(request).encode() if request else b""
                answer = await client.request(f"$JS.API.STREAM.{what}", payload, timeout=ANSWER_SECONDS)
                found = json.loads(answer.data)
                if found.get("error", {}).get("err_code", done) == done:
                    return found
        await asyncio.sleep(AGAIN_SECONDS)
