"""A component as a process of its own: it sends commands and asks queries until SIGTERM.

`python -m tests.faults.upgrade.component FOLDER ROW`; what it sent and what it was answered is noted.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from time import monotonic

from publisher.logs import configure
from registry.client import RegistryClient
from registry.errors import Unavailable
from tests.faults.suite.entries import entry_in, origin_of
from tests.faults.suite.history import ANSWERED, Notes
from tests.faults.suite.writers import RETRY_SECONDS, Writers


async def main(folder: Path, row: str) -> None:
    """Number `row` by commands, and ask what it says."""
    writers, answered = Writers(os.environ["DATABASE_URL"], None, folder), Notes(folder, ANSWERED)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, writers.stop)
    async with (
        RegistryClient.connect(os.environ["NATS_URL"], prefix=os.environ["IMI_PREFIX"]) as client,
        asyncio.TaskGroup() as tasks,
    ):
        asking = tasks.create_task(ask(client, row, answered))
        await writers.write_commands(client, row)
        asking.cancel()


async def ask(client: RegistryClient, row: str, answered: Notes) -> None:
    """Ask for the row's project by its origin and by its id, each question until it is answered."""
    while True:
        asked_at = monotonic()
        try:
            found = await client.queries.project_by_origin(origin_of(row))
            project = await client.queries.project_by_id(found.id)
        except Unavailable:
            await asyncio.sleep(RETRY_SECONDS)
            continue
        entry = entry_in(project.description or "")
        if entry is not None:
            answered.add(asked_at=asked_at, entry=entry)
        await asyncio.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    configure("info")
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
