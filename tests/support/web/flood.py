"""Whole requests without end, over many connections, from a process of its own: `python -m tests.support.web.flood`."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from registry.concurrency.tasks import end
from tests.support.processes import environment

KNOCKS = 100
PAUSE_SECONDS = 0.01
"""After a connection that was closed."""


class Flood:
    """A flood that goes on; what it got is asked of it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def answers(self) -> Counter[str]:
        """How many answers it got so far, by status; `busy` are those with 503 that told when to come again."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(60):
            return Counter(orjson.loads(await self._process.stdout.readline()))


@asynccontextmanager
async def flooding(port: int, connections: int, *paths: str) -> AsyncIterator[Flood]:
    """So many connections ask for `paths` in turn inside the block, from the first answers on.

    Without a path each is closed as soon as it is there, and another one is made.
    """
    arguments = ["-m", "tests.support.web.flood", str(port), str(connections), *paths]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        flood = Flood(process)
        async with asyncio.timeout(60):
            while not (await flood.answers()).total():
                await asyncio.sleep(0.05)
        yield flood
        assert process.returncode is None, "it went on all the time"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ask(port: int, paths: list[str], first: int, found: Counter[str]) -> None:
    number = first
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while True:
                number += 1
                request = f"GET {paths[number % len(paths)]} HTTP/1.1\r\nHost: localhost\r\n\r\n"
                writer.write(request.encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await reader.readexactly(int(headers["content-length"]))
                status = head.split()[1]
                found["busy" if status == "503" and "retry-after" in headers else status] += 1
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(PAUSE_SECONDS)


async def _knock(port: int, found: Counter[str]) -> None:
    while True:
        for _ in range(KNOCKS):
            with socket.socket() as one:
                one.setblocking(False)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no port is left waiting
                one.connect_ex(("127.0.0.1", port))
            found["closed"] += 1
        await asyncio.sleep(0)


async def _main(port: int, connections: int, paths: list[str]) -> None:
    found: Counter[str] = Counter()
    tasks = [
        asyncio.ensure_future(_ask(port, paths, number, found) if paths else _knock(port, found))
        for number in range(connections)
    ]
    try:
        while await asyncio.to_thread(sys.stdin.readline):
            print(orjson.dumps(found).decode(), flush=True)
    finally:
        await end(tasks)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
