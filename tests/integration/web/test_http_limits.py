"""The HTTP server as strangers meet it: slow, too large, too many."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from time import monotonic, time

import psutil
import pytest

from publisher.applier.metrics import ApplierMetrics
from publisher.relay.metrics import RelayMetrics
from publisher.web import connections, status
from tests.support.web.caller import Caller, asked, get, served


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of time that a test can wait for."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(connections, "CONNECTION_SECONDS", 2.0)


HALF = {
    "nothing": lambda _: None,
    "half a line": lambda caller: caller.say("GET /"),
    "headers without end": lambda caller: caller.say(get()[:-2]),
    "a second request without end": lambda caller: caller.say(get() + get()[:-2]),
}


@pytest.mark.parametrize("half", HALF.values(), ids=HALF.keys())
async def test_a_request_that_does_not_come_to_its_end_is_not_waited_for(
    short: None, half: Callable[[Caller], None]
) -> None:
    async with served() as port:
        caller = await Caller.at(port)
        half(caller)
        assert await caller.is_closed()


async def test_each_answer_has_the_time_of_its_request_as_its_date() -> None:
    async with served() as port:
        caller = await Caller.at(port)
        dates = set()
        async with asyncio.timeout(20):
            while len(dates) < 2:  # as the second changes
                before = int(time())
                caller.say(get())
                _, headers, _ = await caller.answer()
                dates.add(headers["date"])
                assert before <= parsedate_to_datetime(headers["date"]).timestamp() <= time()
                await asyncio.sleep(0.05)
        caller.close()


async def test_a_request_has_its_time_however_old_its_connection_is(short: None) -> None:
    async with served() as port:
        caller = await Caller.at(port)
        ends_at = monotonic() + 2 * connections.CONNECTION_SECONDS
        while monotonic() < ends_at:
            caller.say(get())
            assert (await caller.answer())[0] == 200
            await asyncio.sleep(0.05)
        caller.close()


async def test_bytes_that_trickle_in_are_no_reason_to_wait(short: None) -> None:
    async with served() as port:
        caller = await Caller.at(port)
        closed = asyncio.ensure_future(caller.is_closed())
        while not closed.done():
            caller.say("X")
            await asyncio.sleep(0.02)
        assert closed.result()


async def test_an_answer_that_nobody_reads_does_not_hold_its_connection(short: None) -> None:
    async with served() as port:
        with socket.create_connection(("127.0.0.1", port)) as caller:
            server_end = (port, caller.getsockname()[1])
            caller.sendall(get("/large").encode())
            async with asyncio.timeout(20):
                while server_end not in connections_held():
                    await asyncio.sleep(0.01)
                while server_end in connections_held():
                    await asyncio.sleep(0.01)


def connections_held() -> set[tuple[int, int]]:
    """Ports, own and other, of the connections of this process, in which server and caller are."""
    found = psutil.Process().net_connections("tcp")
    return {(one.laddr.port, one.raddr.port) for one in found if one.raddr}


async def test_who_sends_a_whole_request_is_heard_while_others_hold_all_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 8)
    async with served() as port:
        held = [await Caller.at(port) for _ in range(20)]
        for caller in held:
            caller.say("GET / HTTP/1.1\r\n")

        for _ in range(5):
            assert (await asked(port, get()))[0] == 200

        assert await held[0].is_closed()
        for caller in held:
            caller.close()


REFUSED = {
    "long url": (get(f"/?{'a' * 5000}"), 414),
    "long path": (get(f"/{'a' * 5000}"), 414),
    "large header": (get(X="a" * 9000), 431),
    "many headers": (get(**{f"X{number}": "a" * 90 for number in range(100)}), 431),
    "a body": (get(**{"Content-Length": "5"}) + "hello", 413),
    "a body without end": (get(**{"Transfer-Encoding": "chunked"}) + "5\r\nhello\r\n", 413),
    "no http": ("\x00\x01\x02\r\n\r\n", 400),
    "another method": (get().replace("GET", "POST"), 405),
    "another protocol": (get(Connection="Upgrade", Upgrade="websocket"), 200),
}


@pytest.mark.parametrize(("request_", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_no_page_needs_is_refused(request_: str, status: int) -> None:
    async with served() as port:
        found, _, _ = await asked(port, request_)
        assert found == status
        assert (await asked(port, get()))[0] == 200


async def test_the_pages_style_is_the_one_that_a_browser_may_use() -> None:
    metrics = RelayMetrics()
    async with served(pages=status.application(metrics, ApplierMetrics(metrics.registry))) as port:
        _, headers, body = await asked(port, get())
    (style,) = re.findall(rb"<style>(.*?)</style>", body, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert f"style-src 'sha256-{digest}'".lower() in headers["content-security-policy"]
    assert not re.search(rb"style=|<script|<link|<img", body)


async def test_answers_tell_browsers_to_run_and_show_nothing_else() -> None:
    async with served() as port:
        for request in (get(), get("/nowhere"), get(Host="evil.example.com")):
            _, headers, _ = await asked(port, request)
            assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "deny"
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers
