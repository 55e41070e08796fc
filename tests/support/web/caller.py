"""An HTTP server of this process, and a client that writes bytes as it likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from publisher.web import server, status
from publisher.web.guard import Guard, known_hosts
from registry.concurrency.tasks import end

LARGE = 32 * 1024 * 1024
"""More than the kernel holds for a client that does not read."""


async def _small(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _large(_: Request) -> Response:
    return Response(b"x" * LARGE)


PAGES = Starlette(routes=[Route("/", _small), Route("/large", _large)])


@asynccontextmanager
async def served(
    bound: str = "127.0.0.1", hosts: str = "", pages: ASGIApp = PAGES, proxies: str = ""
) -> AsyncIterator[int]:
    """The port of a server in this process."""
    with server.bind(bound, 0) as listener:
        guarded = Guard(pages, hosts=known_hosts(bound, hosts), style=status.STYLE)
        task = asyncio.ensure_future(server.serve(guarded, listener, proxies=proxies))
        try:
            yield listener.getsockname()[1]
        finally:
            async with asyncio.timeout(20):
                await end([task])


class Caller:
    """One connection of a client that writes bytes as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def at(cls, port: int, address: str = "127.0.0.1") -> Caller:
        """Somebody who calls from `address`, one of this machine's, to loopback."""
        to = "::1" if ":" in address else "127.0.0.1"
        return cls(*await asyncio.open_connection(to, port, local_addr=(address, 0)))

    def say(self, text: str) -> None:
        """Send these bytes, unless it is closed."""
        if not self._writer.is_closing():
            self._writer.write(text.encode("latin-1"))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        async with asyncio.timeout(20):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def is_closed(self) -> bool:
        """Wait until the server closes the connection."""
        try:
            async with asyncio.timeout(20):
                while await self._reader.read(65536):
                    pass
        except ConnectionError:
            return True
        return self._reader.at_eof()

    def close(self) -> None:
        """Go away."""
        self._writer.close()


async def asked(port: int, request: str, address: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to these bytes, on a connection of their own from `address`."""
    caller = await Caller.at(port, address)
    caller.say(request)
    try:
        return await caller.answer()
    finally:
        caller.close()


def get(target: str = "/", **headers: str) -> str:
    """A request."""
    given = {"Host": "localhost"} | headers
    return f"GET {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items()) + "\r\n"
