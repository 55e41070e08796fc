"""A connection is closed in order, whatever became of its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from registry.broker.connection import connect_nats, heard
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.kinds import Prepared, of_certificate, of_certificate_at_once, server_for
from tests.support.nats.process import free_port, nats_process
from tests.support.proxy import Proxy, nats_proxy

MUCH = 24 * [b"x" * 900_000]
"""More than the kernel takes of a connection that nobody reads, and less than a client keeps until it waits."""


async def test_a_client_with_something_to_say_is_closed_while_its_server_is_away(state_dir: Path) -> None:
    with nats_process(state_dir) as server:
        async with connect_nats(server.url(), "test") as client:
            server.end()
            async with asyncio.timeout(60):
                while client.is_connected:
                    await asyncio.sleep(0.01)
            await client.publish("subject", b"kept until it is back")
        assert client.is_closed


@pytest.mark.parametrize("prepare", [of_certificate, of_certificate_at_once])
async def test_who_leaves_while_a_server_is_not_to_be_trusted_leaves(
    state_dir: Path, prepare: Callable[[Path], Prepared]
) -> None:
    configuration, access = prepare(state_dir)
    assert access.tls_ca is not None
    with server_for(state_dir, configuration) as server:
        async with asyncio.timeout(60), connect_nats(server.url(), "test", access):
            CertificateAuthority(state_dir / "other").certificate.replace(access.tls_ca)
            server.stop()
            server.start()
            while "TLS handshake error" not in server.log():
                await asyncio.sleep(0.01)


@pytest.fixture
async def proxies(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[tuple[Proxy, str]]]:
    """Two ways to a server, of which a client notices soon that they carry nothing."""
    monkeypatch.setattr("registry.broker.connection.PING_SECONDS", 0.5)
    async with nats_proxy(nats_url) as one, nats_proxy(nats_url) as other:
        yield [one, other]


async def left_unread(client: Client, proxy: Proxy) -> None:
    """Let the proxy read no more and stay, and give the client more to send than can be under way."""
    proxy.black_hole()
    for payload in MUCH:
        await client.publish("subject", payload)
        await asyncio.sleep(0)
    assert client._transport._io_writer.transport.get_write_buffer_size() > 0 or not client.is_connected


async def test_a_connection_on_which_nothing_is_taken_any_more_is_lost_and_another_made(
    proxies: list[tuple[Proxy, str]],
) -> None:
    (stuck, first), (other, second) = proxies
    other.refuse()
    async with connect_nats(f"{first},{second}", "test") as client:
        other.go_on()
        await left_unread(client, stuck)
        async with asyncio.timeout(20):
            while not client.stats["reconnects"]:
                await asyncio.sleep(0.01)
        await heard(client)
        assert client.connected_url.port == other.port


async def test_who_has_lost_such_a_connection_and_finds_no_other_leaves_in_order(
    proxies: list[tuple[Proxy, str]],
) -> None:
    proxy, url = proxies[0]
    async with asyncio.timeout(20):
        async with connect_nats(url, "test") as client:
            await left_unread(client, proxy)
            while client.is_connected:
                await asyncio.sleep(0.01)
        assert client.is_closed


async def test_who_leaves_waits_for_a_server_that_takes_nothing_and_not_for_ever(
    proxies: list[tuple[Proxy, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.broker.parting.LEAVING_SECONDS", 0.1)
    proxy, url = proxies[0]
    async with asyncio.timeout(20):
        async with connect_nats(url, "test", reconnect=False) as client:
            await left_unread(client, proxy)
        assert client.is_closed


async def test_a_server_that_goes_while_it_is_waited_for_is_left_in_order(proxies: list[tuple[Proxy, str]]) -> None:
    proxy, url = proxies[0]
    is_closed: list[bool] = []

    async def closed() -> None:
        is_closed.append(True)

    async with asyncio.timeout(20):
        async with connect_nats(url, "test", reconnect=False) as client:
            client._closed_cb = closed
            await left_unread(client, proxy)
            asyncio.get_running_loop().call_later(0.2, proxy.cut)
        assert client.is_closed
        while not is_closed:  # nats-py's reader says it
            await asyncio.sleep(0.01)


@pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")  # of nats-py
async def test_by_websockets_who_leaves_waits_no_longer(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp", reason="websockets need aiohttp")
    monkeypatch.setattr("registry.broker.parting.LEAVING_SECONDS", 0.1)
    port = free_port()
    with nats_process(state_dir, websocket={"listen": f"127.0.0.1:{port}", "no_tls": True}):
        async with nats_proxy(f"nats://127.0.0.1:{port}") as (proxy, url), asyncio.timeout(20):
            async with connect_nats(url.replace("nats://", "ws://"), "test", reconnect=False) as client:
                proxy.black_hole()
                client._pending += MUCH  # as they wait to be sent
                client._pending_data_size = sum(map(len, MUCH))
            assert client.is_closed


async def test_a_try_that_failed_leaves_no_connection_behind(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing closes a socket for want of a reader, as in Python 3.11.2."""
    monkeypatch.setattr("registry.broker.connection.CONNECT_TIMEOUT_SECONDS", 0.2)
    kept: list[asyncio.StreamWriter] = []
    opened = asyncio.open_connection

    async def keep(*arguments: Any, **options: Any) -> Any:
        reader, writer = await opened(*arguments, **options)
        if writer.get_extra_info("peername")[1] == through:
            kept.append(writer)
        return reader, writer

    with nats_process(state_dir) as server:
        async with nats_proxy(server.url()) as (proxy, url), connect_nats(url, "test") as client:
            through = proxy.port
            monkeypatch.setattr(asyncio, "open_connection", keep)
            proxy.black_hole()
            proxy.cut()
            async with asyncio.timeout(30):
                while len(kept) < 5:
                    await asyncio.sleep(0.01)
                assert [writer.transport.is_closing() for writer in kept[:-1]] == [True] * (len(kept) - 1)
            assert not client.is_connected
