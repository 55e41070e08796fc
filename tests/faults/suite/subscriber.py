"""A subscriber as a process of its own: it notes what it handled. `python -m tests.faults.suite.subscriber`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from publisher.logs import configure
from registry.client import Delivery, RegistryClient
from registry.errors import NotFound, Unavailable
from tests.faults.suite.entries import entry_of
from tests.faults.suite.history import HANDLED, Notes

DURABLE = "suite"
RETRY_SECONDS = 0.1
"""Wait before a first connection is tried again; one that was made is restored by the client."""


async def main(folder: Path) -> None:
    """Handle every event until killed."""
    notes = Notes(folder, HANDLED)

    async def handle(delivery: Delivery) -> None:
        entry = entry_of(delivery.payload)
        if entry is not None:
            notes.add(at=delivery.sequence, entry=entry)

    url, prefix = os.environ["NATS_URL"], os.environ["IMI_PREFIX"]
    while True:
        try:
            async with RegistryClient.connect(url, prefix=prefix) as client:
                await client.subscribe(handle, durable=DURABLE, from_start=True)
        except (Unavailable, NotFound):
            await asyncio.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    configure("info")
    asyncio.run(main(Path(sys.argv[1])))
