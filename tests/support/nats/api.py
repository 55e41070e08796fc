"""JetStream's own API as JSON, whatever a client library knows of it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import nats.errors

from tests.support.nats.cluster import Cluster
from tests.support.nats.reading import connected

ANSWER_SECONDS = 2.0
AGAIN_SECONDS = 0.1


async def ask(cluster: Cluster, what: str, request: dict[str, Any], done: int = 0) -> Any:
    """The answer, asked for until it is no error; a cluster without a leader has none, or one. `done` is no error."""
    while True:
        with suppress(nats.errors.Error, TimeoutError, OSError):
            async with connected(cluster.nodes_up()) as client:
                payload = json.dumps(request).encode() if request else b""
                answer = await client.request(f"$JS.API.{what}", payload, timeout=ANSWER_SECONDS)
                found = json.loads(answer.data)
                if found.get("error", {}).get("err_code", done) == done:
                    return found
        await asyncio.sleep(AGAIN_SECONDS)
