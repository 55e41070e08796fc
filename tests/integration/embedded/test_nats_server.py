"""The embedded nats-server: where it listens, what it keeps, and how it refuses."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import nats as nats_py
import nats.errors
import psutil
import pytest
from structlog.testing import capture_logs

from publisher.embedded.nats_server import nats_server
from registry.broker import connection
from registry.broker.connection import connect_nats
from registry.concurrency.outage import Outage
from registry.errors import Unavailable


async def connect(url: str):
    async def ignore(_: Exception) -> None: ...

    return await nats_py.connect(url, allow_reconnect=False, error_cb=ignore)


async def test_nats_is_on_loopback_and_wants_the_token_of_its_url(state_dir):
    with nats_server(state_dir) as server:
        listening = [c.laddr.ip for c in psutil.Process(server.pid).net_connections("tcp") if c.status == "LISTEN"]
        assert listening == ["127.0.0.1"]
        client = await connect(server.url)
        assert client.max_payload == 8 * 1024 * 1024
        await client.close()
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await connect(f"nats://127.0.0.1:{urlsplit(server.url).port}")


async def test_stream_and_port_are_there_after_a_restart(state_dir):
    with nats_server(state_dir) as server:
        client = await connect(server.url)
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        await client.jetstream().publish("kept", b"42")
        await client.close()
        before = urlsplit(server.url).port
    with nats_server(state_dir) as server:
        assert urlsplit(server.url).port == before
        client = await connect(server.url)
        assert (await client.jetstream().get_last_msg("KEPT", "kept")).data == b"42"
        await client.close()


async def test_what_is_heard_on_the_port_while_nats_is_down_opens_nothing_afterwards(state_dir, monkeypatch):
    """By another account of the machine: a client of before comes back, and tells its token to whoever listens."""
    monkeypatch.setattr(connection, "_refusals", Outage("nats"))  # what was told before is told less often
    with ExitStack() as first:
        before = first.enter_context(nats_server(state_dir)).url
        port = urlsplit(before).port
        async with connect_nats(before, "test"):
            first.close()
            token = await heard_on(port)
            assert f"nats://{token}@127.0.0.1:{port}" == before

            with capture_logs() as logged, nats_server(state_dir) as server:
                assert urlsplit(server.url).port == port
                with pytest.raises(nats.errors.Error, match="Authorization Violation"):
                    await connect(before)
                await (await connect(server.url)).close()

                # and the client says what to do
                async with asyncio.timeout(30):
                    while not (refusals := [line for line in logged if line["event"] == "nats refuses"]):
                        await asyncio.sleep(0.01)
    assert refusals[0]["log_level"] == "warning"
    assert "Authorization Violation" in refusals[0]["reason"]
    assert "read its endpoints.json again" in refusals[0]["reason"]
    assert token not in str(logged)


async def heard_on(port: int | None) -> str:
    """The token that who comes to `port` tells a listener who asks for one."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"S","version":"2.12.0","auth_required":true,"max_payload":1024}\r\n')
        said = await reader.readline()
        if said and not heard.done():
            heard.set_result(said)
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", port), asyncio.timeout(30):
        said = await heard
    return str(json.loads(said.removeprefix(b"CONNECT "))["auth_token"])


async def test_nats_takes_another_port_and_token_when_its_own_port_is_taken(state_dir):
    with nats_server(state_dir) as server:
        before = urlsplit(server.url)
    with socket.create_server(("127.0.0.1", before.port)), nats_server(state_dir) as server:
        now = urlsplit(server.url)
        assert now.port != before.port
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await connect(f"nats://{before.username}@127.0.0.1:{now.port}")
        await (await connect(server.url)).close()


def test_bad_nats_setting_is_reported_with_the_servers_own_words(state_dir):
    with (
        pytest.raises(Unavailable, match=r"nats-server did not start: .*nats.conf:1:.* is string, not int64"),
        nats_server(state_dir, settings={"max_payload": "many"}),
    ):
        pass


def test_jetstream_setting_goes_into_its_block(state_dir):
    with nats_server(state_dir, settings={"jetstream.max_file_store": 1_000_000_000}):
        assert "Max Storage:     953.67 MB" in (state_dir / "nats.log").read_text()
