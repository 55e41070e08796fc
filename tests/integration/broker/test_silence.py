"""A server that takes a connection and says nothing: what may be said of why."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from registry.broker import connection, silence
from registry.broker.access import Access
from registry.broker.connection import connect_nats, flushed, heard
from registry.broker.errors import translated_nats
from registry.errors import Unavailable
from tests.support.nats.process import NatsProcess, nats_process
from tests.support.proxy import nats_proxy
from tests.support.services import scratch_directory


@contextmanager
def stopped(server: NatsProcess) -> Iterator[None]:
    """It goes on to take connections, since the kernel does, and reads nothing."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


@pytest.mark.parametrize("access", [Access(), Access(tls_handshake_first=True)], ids=["plain", "TLS at once"])
async def test_a_server_that_is_stopped_is_not_taken_for_one_that_waits_for_tls(
    monkeypatch: pytest.MonkeyPatch, access: Access
) -> None:
    monkeypatch.setattr("registry.broker.connection.CONNECT_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(silence, "PROBE_SECONDS", 0.2)
    told = r": no answer in time \(is it stopped, or overloaded\?\)$"
    with (
        scratch_directory() as directory,
        nats_process(Path(directory)) as server,
        stopped(server),
        pytest.raises(Unavailable, match=told),
    ):
        async with connect_nats(server.url(), "test", access):
            pass


async def test_a_server_that_speaks_no_tls_does_not_wait_for_it() -> None:
    with scratch_directory() as directory, nats_process(Path(directory)) as server:
        assert not await silence.waits_for_tls(server.url())
    assert not await silence.waits_for_tls(server.url())  # nobody listens there any more


async def test_a_client_that_waited_in_vain_for_a_stopped_server_hears_it_again() -> None:
    with scratch_directory() as directory, nats_process(Path(directory)) as server:
        async with connect_nats(server.url(), "test") as client:
            subscription = await client.subscribe("a")
            with stopped(server):
                for _ in range(3):
                    with pytest.raises(Unavailable, match="NATS does not answer: no answer in time"):
                        await soon_heard(client)
            await heard(client)
            await client.publish("a", b"x")
            assert (await subscription.next_msg(30)).data == b"x"


async def soon_heard(client: Client) -> None:
    """As `heard`, with less patience."""
    with translated_nats("NATS does not answer"):
        await client.flush(1)


async def test_a_large_message_that_is_long_under_way_is_no_silence(
    nats_url: str, nats: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", 1)
    subject = nats.new_inbox()
    async with nats_proxy(nats_url) as (proxy, url), connect_nats(url, "reader") as client:
        subscription = await client.subscribe(subject)
        await flushed(client)
        proxy.bytes_per_second = 80_000  # the answer to a ping comes behind it

        await nats.publish(subject, b"x" * 900_000)

        message = await subscription.next_msg(timeout=60)
        assert (len(message.data), client.stats["reconnects"]) == (900_000, 0)
