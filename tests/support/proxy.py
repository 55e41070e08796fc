"""A TCP proxy in front of PostgreSQL or NATS that misbehaves on demand.

Every chunk it carries, in either direction, has a number: a test stops the traffic exactly before or after one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
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
        self._clients: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        """Ends of connections to which nothing is carried any more."""
        self._hanging: set[asyncio.StreamWriter] = set()
        """Of those the ends of clients of which no server hears that they are gone."""
        self._passing: dict[Direction, asyncio.Event] = {"to_server": asyncio.Event(), "to_client": asyncio.Event()}
        self._held: dict[asyncio.StreamWriter, bytes] | None = None
        """What is kept back on its way to servers; None while nothing is."""
        self._last_chunk_at = monotonic()
        self._stop: Stop | None = None
        self._is_stopped = False
        self.port = 0
        self.chunks = 0
        """Chunks carried, or held back, since the last `count_from_now`, of both directions."""
        self.is_refusing = False
        self.delay_seconds = 0.0
        self.bytes_per_second = 0.0
        """How much each direction of a connection carries; 0 is as much as comes."""
        self.swallow: Callable[[Direction, bytes], bool] | None = None
        """Asked for each chunk; one it says True for never arrives."""
        self.go_on()

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
        self.delay_seconds = self.bytes_per_second = 0.0
        held, self._held = self._held or {}, None
        for writer in held.keys() & self._writers:
            writer.write(held[writer])
        for passing in self._passing.values():
            passing.set()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def refuse(self) -> None:
        """Reset every connection, and each new one at once."""
        self.is_refusing = True
        self.cut()

    def half_close(self) -> None:
        """End every connection in one direction: clients read an end, and what they write still arrives."""
        for client in self._clients - self._deaf:
            self._deaf.add(client)
            if not client.is_closing():
                client.write_eof()

    def silence(self, direction: Direction | None = None) -> None:
        """Carry nothing more on the connections that stand, or not in one direction; new ones are as ever.

        Those stand until both ends are gone, as behind a proxy that hangs: the server does not hear of a client's end.
        """
        self._hanging |= self._clients
        for each, writers in {"to_client": self._clients, "to_server": self._writers - self._clients}.items():
            if direction in {None, each}:
                self._deaf |= writers

    def black_hole(self, direction: Direction | None = None) -> None:
        """Accept connections and chunks, and pass nothing on, or not in one direction, as a network without a route."""
        for each, passing in self._passing.items():
            if direction in {None, each}:
                passing.clear()

    def hold(self) -> None:
        """Take what comes for servers, all of it, and keep it back until `go_on`."""
        self._held = {}

    @property
    def held(self) -> bytes:
        """What is kept back, of all connections."""
        return b"".join((self._held or {}).values())

    async def quiet(self, seconds: float = 0.25) -> None:
        """Return when no chunk came for `seconds` from now on."""
        began = monotonic()
        while monotonic() - max(began, self._last_chunk_at) < seconds:
            await asyncio.sleep(0.02)

    async def end(self) -> None:
        """Reset every connection, and wait until none is left."""
        self.go_on()
        self.refuse()
        while self._serving:
            await asyncio.wait(self._serving)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

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
        self._clients.add(writer)
        try:
            async with asyncio.TaskGroup() as tasks:
                pumps = [
                    tasks.create_task(self._pump(reader, server_writer, "to_server")),
                    tasks.create_task(self._pump(server_reader, writer, "to_client")),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                if writer in self._hanging:
                    await pumps[1]
                for pump in pumps:
                    pump.cancel()
        finally:
            self._writers -= pair
            self._clients.discard(writer)
            self._deaf -= pair
            self._hanging.discard(writer)
            for each in pair:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                self.chunks += 1
                self._last_chunk_at = monotonic()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if self.bytes_per_second:
                    await asyncio.sleep(len(data) / self.bytes_per_second)
                await self._passing[direction].wait()
                stop = self._stop
                is_here = stop is not None and self.chunks == stop.chunk and not self._is_stopped
                if is_here and stop is not None and stop.when == "before":
                    self._is_stopped = True
                    stop.call()
                is_swallowed = self._is_stopped or (self.swallow is not None and self.swallow(direction, data))
                if is_swallowed or writer in self._deaf:
                    continue
                if self._held is not None and direction == "to_server":
                    self._held[writer] = self._held.get(writer, b"") + data
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
        connect = lambda: asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")  # noqa: E731  # one of two, said in a line each
    else:
        connect = lambda: asyncio.open_connection(host, int(port))  # noqa: E731  # one of two, said in a line each
    async with proxied(connect) as proxy:
        through = parts | {"host": "127.0.0.1", "port": proxy.port, "sslmode": "disable", "gssencmode": "disable"}
        database = through.pop("dbname")
        yield proxy, f"postgresql:///{database}?{urlencode(through, quote_via=quote)}"


@asynccontextmanager
async def nats_proxy(nats_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of the nats-server of `nats_url`; yields it and the URL through it."""
    parts = urlsplit(nats_url)
    host, port = parts.hostname, parts.port or 4222
    async with tcp_proxy(host or "127.0.0.1", port) as proxy:
        credentials, at, _ = parts.netloc.rpartition("@")
        yield proxy, f"{parts.scheme}://{credentials}{at}127.0.0.1:{proxy.port}"


def tcp_proxy(host: str, port: int) -> AbstractAsyncContextManager[Proxy]:
    """A proxy in front of any server."""
    return proxied(lambda: asyncio.open_connection(host, port))


@asynccontextmanager
async def proxied(connect: Callable[[], object]) -> AsyncIterator[Proxy]:
    """A proxy to what `connect` opens for each connection."""
    proxy = Proxy(connect)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=CHUNK_BYTES)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
        await server.wait_closed()
