"""The embedded nats-server: where it listens, what it keeps, and how it refuses."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import nats as nats_py
import nats.errors
import psutil
import pytest

from publisher.embedded.nats_server import nats_server
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
        before = server.url
    with nats_server(state_dir) as server:
        assert server.url == before
        client = await connect(server.url)
        assert (await client.jetstream().get_last_msg("KEPT", "kept")).data == b"42"
        await client.close()


async def test_nats_takes_another_port_and_token_when_its_own_port_is_taken(state_dir):
    """Who took it is told the token by clients of before that come back."""
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
