"""A URL of NATS with websockets is refused in one line where it cannot be used; docs/nats.md."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from registry.broker.connection import connect_nats
from registry.client import Access
from registry.errors import Invalid


@pytest.mark.parametrize("url", ["ws://me:s3cret@127.0.0.1:1", "wss://127.0.0.1:1"])
async def test_websockets_need_their_package(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(Invalid, match="for websockets the package aiohttp must be installed") as raised:
        async with connect_nats(url, "test"):
            pass
    assert "s3cret" not in str(raised.value)


async def test_websockets_do_not_stand_beside_other_servers() -> None:
    with pytest.raises(Invalid, match="must not have websockets beside other servers"):
        async with connect_nats("nats://127.0.0.1:1,ws://127.0.0.1:1", "test"):
            pass


@pytest.mark.parametrize(
    ("url", "access"),
    [
        ("ws://me:s3cret@127.0.0.1:1", Access(tls_ca=Path("ca.pem"))),
        ("ws://me:s3cret@127.0.0.1:1", Access(tls_cert=Path("cert.pem"), tls_key=Path("key.pem"))),
        ("ws://127.0.0.1:1", Access(tls_handshake_first=True, user="me", password="s3cret")),  # noqa: S106  # the point
        ("ws://me:s3cret@127.0.0.1:1,wss://127.0.0.1:1", Access()),
    ],
)
async def test_where_tls_is_asked_for_websockets_without_it_are_refused(url: str, access: Access) -> None:
    with pytest.raises(Invalid, match="TLS is asked for, and ws:// is without it; give wss://") as raised:
        async with connect_nats(url, "test", access):
            pass
    assert "s3cret" not in str(raised.value)
