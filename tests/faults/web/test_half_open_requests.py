"""Thousands of requests that are never finished: the status page answers, and the process does not run out of files."""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit

from publisher.web.connections import MOST_CONNECTIONS
from publisher.web.server import BACKLOG
from tests.support.relay_process import RelayProcess
from tests.support.workload import writing
from tests.support.world import World

HALF_OPEN = 3000
AT_ONCE = 100


async def test_bad_requests_fill_no_log(world: World) -> None:
    with world.process() as process:
        address = urlsplit((await process.ready())["http_url"])
        for request in (b"no http\r\n\r\n", b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n", b"GET / HTTP/9\r\n\r\n"):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(request)
            assert (await reader.readline()).startswith(b"HTTP/1.1 4")
            writer.close()
        await ready(process)
        assert [line for line in process.log() if line["level"] not in {"info", "debug"}] == []


async def test_three_thousand_half_open_requests_harm_nothing(world: World) -> None:
    with world.process() as process:
        address = urlsplit((await process.ready())["http_url"])
        await ready(process)
        before = files_of(process.pid)
        writers: list[asyncio.StreamWriter] = []
        turns = asyncio.Semaphore(AT_ONCE)

        async def hold() -> None:
            async with turns:
                _, writer = await asyncio.open_connection(address.hostname, address.port)
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n")
                writers.append(writer)

        async with writing(world.database, writers=2) as load:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(HALF_OPEN):
                    tasks.create_task(hold())
                while len(writers) < HALF_OPEN:
                    assert (await process.readyz())[0] in {200, 503}  # it answers, whatever a busy machine lets it say
                    assert files_of(process.pid) <= before + MOST_CONNECTIONS + BACKLOG + 10
            await load.reach(commits=100)
        await world.assert_exactly_once(at_least=100)  # while all of them stand
        await ready(process)

        for writer in writers:
            writer.close()
        async with asyncio.timeout(20):
            while files_of(process.pid) > before + 1:
                await asyncio.sleep(0.05)


async def ready(process: RelayProcess) -> None:
    """Wait until the service does its work."""
    async with asyncio.timeout(60):
        while (await process.readyz())[0] != 200:
            await asyncio.sleep(0.1)


def files_of(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
