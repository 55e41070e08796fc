"""A connection is closed in order, whatever became of its server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from registry.broker.connection import connect_nats
from tests.support.nats.process import nats_process


async def test_a_client_with_something_to_say_is_closed_while_its_server_is_away(state_dir: Path) -> None:
    with nats_process(state_dir) as server:
        async with connect_nats(server.url(), "test") as client:
            server.end()
            async with asyncio.timeout(60):
                while client.is_connected:
                    await asyncio.sleep(0.01)
            await client.publish("subject", b"kept until it is back")
        assert client.is_closed
