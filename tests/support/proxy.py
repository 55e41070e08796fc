"""A TCP proxy in front of PostgreSQL or NATS that misbehaves on demand.

Every chunk it carries, in either direction, has a number: a test stops the traffic exactly before or after one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

from psycopg.conninfo import conninfo_to_dict

Direction = Literal["to_server", "to_client"]
CHUNK_BYTES = 65536


@dataclass
class Stop:
    """Where the traffic ends, and what happens there."""

    chunk: int
    when: Literal["before", "after"]
    call: Callable[[], object]


class Proxy:
    """One listening port on loopback in front of one server; `proxied` opens it."""

    def __init__(self, connect: Callable[[], object]) -> None:
        self._connect = connect
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._last_chunk_at = monotonic()
        self._stop: Stop | None = None
        self._is_stopped = False
        self.port = 0
        self.chunks = 0
        """Chunks carried, or held back, since the last `count_from_now`, of both directions."""
        self.is_refusing = False
        self.delay_seconds = 0.0
        self.swallow: Callable[[Direction, bytes], bool] | None = None
        """Asked for each chunk; one it says True for never arrives."""

    def count_from_now(self) -> None:
        """Number the next chunk 1."""
        self.chunks = 0

    def stop_at(self, chunk: int, when: Literal["before", "after"], call: Callable[[], object]) -> None:
        """Carry nothing from before, or after, this chunk on, and `call` at that moment; `go_on` ends it."""
        self.count_from_now()
        self._stop = Stop(chunk, when, call)

    def go_on(self) -> None:
        """Carry everything again, on new connections."""
        self._stop, self._is_stopped, self.is_refusing, self.swallow = None, False, False, None
        self._passing.set()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def refuse(self) -> None:
        """Reset every connection, and each new one at once."""
        self.is_refusing = True
        self.cut()

    def black_hole(self) -> None:
        """Accept connections and chunks, and pass nothing on, as a network does that lost its route."""
        self._passing.clear()

    async def quiet(self, seconds: float = 0.25) -> None:
        """Return when no chunk came for `seconds` from now on."""
        began = monotonic()
        while monotonic() - max(began, self._last_chunk_at) < seconds:
            await asyncio.sleep(0.02)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await self._connect()  # type: ignore[misc]  # asyncio's open functions
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, server_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as tasks:
                pumps = [
                    tasks.create_task(self._pump(reader, server_writer, "to_server")),
                    tasks.create_task(self._pump(server_reader, writer, "to_client")),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
        finally:
            self._writers -= pair
            for each in pair:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                self.chunks += 1
                self._last_chunk_at = monotonic()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                await self._passing.wait()
                stop = self._stop
                is_here = stop is not None and self.chunks == stop.chunk and not self._is_stopped
                if is_here and stop is not None and stop.when == "before":
                    self._is_stopped = True
                    stop.call()
                if self._is_stopped or (self.swallow is not None and self.swallow(direction, data)):
                    continue
                writer.write(data)
                await writer.drain()
                if is_here and stop is not None and stop.when == "after":
                    self._is_stopped = True
                    stop.call()


@asynccontextmanager
async def postgres_proxy(database_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of the server of `database_url`, by TCP or unix socket; yields it and the URL through it."""
    parts = conninfo_to_dict(database_url)
    host, port = str(parts.get("host") or "localhost"), str(parts.get("port") or "5432")
    if host.startswith("/"):
        connect = lambda: asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")  # noqa: E731
    else:
        connect = lambda: asyncio.open_connection(host, int(port))  # noqa: E731
    async with _listening(connect) as proxy:
        through = parts | {"host": "127.0.0.1", "port": proxy.port, "sslmode": "disable", "gssencmode": "disable"}
        database = through.pop("dbname")
        yield proxy, f"postgresql:///{database}?{urlencode(through, quote_via=quote)}"


@asynccontextmanager
async def nats_proxy(nats_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of the nats-server of `nats_url`; yields it and the URL through it."""
    parts = urlsplit(nats_url)
    host, port = parts.hostname, parts.port or 4222
    async with _listening(lambda: asyncio.open_connection(host, port)) as proxy:
        credentials, at, _ = parts.netloc.rpartition("@")
        yield proxy, f"{parts.scheme}://{credentials}{at}127.0.0.1:{proxy.port}"


@asynccontextmanager
async def _listening(connect: Callable[[], object]) -> AsyncIterator[Proxy]:
    proxy = Proxy(connect)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0, limit=CHUNK_BYTES)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.go_on()
        proxy.cut()
        await server.wait_closed()
