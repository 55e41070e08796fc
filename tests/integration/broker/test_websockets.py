"""NATS by websockets: `wss://` works as `tls://` does, and is never left out; docs/nats.md."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from nats.aio.client import Client

from registry.broker.connection import connect_nats
from registry.client import Access, RegistryClient
from registry.errors import Invalid, RegistryError, Unavailable
from tests.support.everything import everything_works
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.process import configure, free_port, nats_process
from tests.support.world import World

pytest.importorskip("aiohttp", reason="websockets need aiohttp")
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")  # of nats-py

WORD = "s3cret"
AUTHORIZATION = {"users": [{"user": "ada", "password": WORD}]}


class Files(NamedTuple):
    """What a server has, and what a client trusts."""

    authority: CertificateAuthority
    certificate: Path
    key: Path

    def access(self, **given: Any) -> Access:
        return Access(user="ada", password=WORD, tls_ca=self.authority.certificate, **given)

    def websocket(self, port: int) -> dict[str, Any]:
        """A listener with TLS, as in a server's configuration."""
        files = {"cert_file": str(self.certificate), "key_file": str(self.key)}
        return {"authorization": AUTHORIZATION, "websocket": {"listen": f"127.0.0.1:{port}", "tls": files}}


def without_tls(port: int) -> dict[str, Any]:
    return {"authorization": AUTHORIZATION, "websocket": {"listen": f"127.0.0.1:{port}", "no_tls": True}}


@pytest.fixture
def files(state_dir: Path) -> Files:
    authority = CertificateAuthority(state_dir / "ca")
    return Files(authority, *authority.sign("server"))


@pytest.fixture
def server_dir(state_dir: Path) -> Path:
    folder = state_dir / "server"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_service_and_client_do_all_their_work_by_websockets(
    world: World, files: Files, server_dir: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    access = files.access() if scheme == "wss" else Access(user="ada", password=WORD)
    monkeypatch.setenv("IMI_NATS_USER", "ada")
    monkeypatch.setenv("IMI_NATS_PASSWORD", WORD)
    if access.tls_ca is not None:
        monkeypatch.setenv("IMI_NATS_TLS_CA", str(access.tls_ca))
    with nats_process(server_dir, **(files.websocket(port) if scheme == "wss" else without_tls(port))):
        await everything_works(world.at(nats_url=f"{scheme}://127.0.0.1:{port}"), access)


async def test_a_server_that_comes_back_without_tls_is_told_nothing(files: Files, server_dir: Path) -> None:
    port = free_port()
    with nats_process(server_dir, **files.websocket(port)) as server:
        async with connect_nats(f"wss://127.0.0.1:{port}", "test", files.access()) as client, asyncio.timeout(60):
            (known,) = client._server_pool
            server.stop()
            while client.is_connected:
                await asyncio.sleep(0.02)

            # when
            configure(server_dir / "nats.conf", port=server.port, store=server.store, **without_tls(port))
            server.start()
            attempts = known.reconnects
            while known.reconnects < attempts + 3 and not client.is_connected:
                await asyncio.sleep(0.02)

            # then
            assert not client.is_connected
            server.stop()
            configure(server_dir / "nats.conf", port=server.port, store=server.store, **files.websocket(port))
            server.start()
            while not client.is_connected:
                await asyncio.sleep(0.02)


def of_plain(files: Files, port: int) -> tuple[str, Access]:
    return f"wss://ada:{WORD}@127.0.0.1:{port}", Access(tls_ca=files.authority.certificate)


def of_plain_by_setting(files: Files, port: int) -> tuple[str, Access]:
    return f"wss://127.0.0.1:{port}", files.access()


def of_ws(files: Files, port: int) -> tuple[str, Access]:
    return f"ws://ada:{WORD}@127.0.0.1:{port}", Access(tls_ca=files.authority.certificate)


def of_ws_beside_wss(files: Files, port: int) -> tuple[str, Access]:
    return f"ws://ada:{WORD}@127.0.0.1:{port},wss://127.0.0.1:{port}", Access()


def of_ws_with_a_certificate(files: Files, port: int) -> tuple[str, Access]:
    certificate, key = files.authority.sign("client")
    return f"ws://ada:{WORD}@127.0.0.1:{port}", Access(tls_cert=certificate, tls_key=key)


WITHOUT = [of_plain, of_plain_by_setting, of_ws, of_ws_beside_wss, of_ws_with_a_certificate]


@pytest.mark.parametrize("where", WITHOUT)
async def test_nothing_is_said_to_a_server_without_tls(
    files: Files, where: Callable[[Files, int], tuple[str, Access]]
) -> None:
    async with recording() as (port, heard):
        url, access = where(files, port)
        for reconnect in (True, False):
            with pytest.raises(RegistryError) as refused:
                async with connect_nats(url, "test", access, reconnect=reconnect):
                    pass
            assert isinstance(refused.value, Invalid if "ws://" in url.replace("wss", "") else Unavailable)
            assert WORD not in str(refused.value)
    assert {message[:1] for message in heard} <= {b"\x16"}, "a handshake of TLS, or nothing"


async def test_a_server_with_tls_that_sends_on_to_one_without_gets_nobody_there(files: Files) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    async with recording(answer=b"HTTP/1.1 400 No\r\n\r\n") as (port, heard):
        sends_on = b"HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % port
        async with recording(answer=sends_on, context=context) as (secured, _):
            url, access = of_plain(files, secured)
            with pytest.raises(Unavailable):
                async with connect_nats(url, "test", access, reconnect=False):
                    pass
    assert not [message for message in heard if b"Authorization" in message or WORD.encode() in message]


async def test_a_server_that_is_reached_without_tls_on_the_way_is_not_told_who_comes(
    files: Files, server_dir: Path
) -> None:
    """It takes anybody's connection, and is a nats-server; the one with TLS in front sends on to it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    port = free_port()
    with nats_process(server_dir, **without_tls(port)):
        sends_on = b"HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % port
        async with recording(answer=sends_on, context=context) as (secured, _):
            with pytest.raises(Unavailable, match="asks for TLS and the server has none: nothing was sent to it"):
                async with connect_nats(f"wss://127.0.0.1:{secured}", "test", files.access(), reconnect=False):
                    pass


@pytest.mark.parametrize("is_system", [True, False])
async def test_a_certificate_that_is_not_trusted_is_told_in_one_line(
    files: Files, server_dir: Path, state_dir: Path, is_system: bool
) -> None:
    other = CertificateAuthority(state_dir / "other").certificate
    access = Access(user="ada", password=WORD, tls_ca=None if is_system else other)
    port = free_port()
    with nats_process(server_dir, **files.websocket(port)):
        for reconnect in (True, False):
            with pytest.raises(Unavailable, match=r"the server's certificate is not trusted: .*see setting") as refused:
                async with connect_nats(f"wss://127.0.0.1:{port}", "test", access, reconnect=reconnect):
                    pass
            assert "\n" not in str(refused.value)


async def test_a_port_without_tls_is_told_in_one_line(files: Files, server_dir: Path) -> None:
    port = free_port()
    refused = pytest.raises(Unavailable, match=r"TLS: .*; is there TLS on this port\?$")
    with nats_process(server_dir, **without_tls(port)), refused:
        async with RegistryClient.connect(f"wss://127.0.0.1:{port}", access=files.access()):
            pass


@asynccontextmanager
async def recording(
    *, answer: bytes = b"", context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that gives `answer` to whatever it hears: its port, and what it heard."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65536))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


async def test_a_server_that_refuses_keeps_no_other_from_being_reached(
    files: Files, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two the first one has other users now; the second was away for a moment."""
    monkeypatch.setattr("nats.aio.client.shuffle", lambda _: None)
    ports = free_port(), free_port()
    folders = state_dir / "refuses", state_dir / "away"
    for folder in folders:
        folder.mkdir()
    others = {"authorization": {"users": [{"user": "bob", "password": WORD}]}}
    with (
        nats_process(folders[0], **(files.websocket(ports[0]) | others)),
        nats_process(folders[1], **files.websocket(ports[1])) as away,
    ):
        url = ",".join(f"wss://127.0.0.1:{port}" for port in ports)
        async with connect_nats(url, "test", files.access()) as client, asyncio.timeout(60):
            away.stop()
            while client.is_connected:
                await asyncio.sleep(0.02)
            away.start()
            await at(client, ports[1])
            await client.flush()


async def test_the_other_servers_of_a_cluster_are_reached_by_websockets(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports, routes = (free_port(), free_port()), (free_port(), free_port())
    url = f"ws://127.0.0.1:{ports[0]}"
    async with AsyncExitStack() as stack:
        servers = []
        for number, folder in enumerate((state_dir / "one", state_dir / "other")):
            folder.mkdir()
            cluster = {
                "name": "cluster",
                "listen": f"127.0.0.1:{routes[number]}",
                "routes": [f"nats://127.0.0.1:{port}" for port in routes],
            }
            given = without_tls(ports[number]) | {"server_name": folder.name, "cluster": cluster}
            servers.append(stack.enter_context(nats_process(folder, **given)))
        access = Access(user="ada", password=WORD)
        async with connect_nats(url, "test", access) as client, asyncio.timeout(60):
            while len(client._server_pool) < 2:
                await asyncio.sleep(0.02)
            servers[0].stop()
            await at(client, ports[1])
            servers[1].stop()
            servers[0].start()
            await at(client, ports[0])


async def at(client: Client, port: int) -> None:
    """Wait until it is connected there."""
    while not (client.is_connected and client.connected_url.port == port):
        await asyncio.sleep(0.02)
