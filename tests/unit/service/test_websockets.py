"""A URL of NATS with websockets is refused in one line where it cannot be used; docs/nats.md."""

from __future__ import annotations

import importlib.util

import pytest

from registry.broker.connection import connect_nats
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
