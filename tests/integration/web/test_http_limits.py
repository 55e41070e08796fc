"""The HTTP server as strangers meet it: slow, too large, too many, and with a page of somebody else in front."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from time import time

import psutil
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from publisher.applier.metrics import ApplierMetrics
from publisher.relay.metrics import RelayMetrics
from publisher.web import connections, server, status
from publisher.web.guard import Guard, known_hosts
from registry.concurrency.tasks import end

LARGE = 32 * 1024 * 1024
"""More than the kernel holds for a client that does not read."""


async def small(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def large(_: Request) -> Response:
    return Response(b"x" * LARGE)


PAGES = Starlette(routes=[Route("/", small), Route("/large", large)])


@asynccontextmanager
async def served(
    bound: str = "127.0.0.1", hosts: str = "", pages: ASGIApp = PAGES, proxies: str = ""
) -> AsyncIterator[int]:
    """The port of a server in this process."""
    with server.bind(bound, 0) as listener:
        guarded = Guard(pages, hosts=known_hosts(bound, hosts), style=status.STYLE)
        task = asyncio.ensure_future(server.serve(guarded, listener, proxies=proxies))
        try:
            yield listener.getsockname()[1]
        finally:
            async with asyncio.timeout(20):
                await end([task])


class Caller:
    """One connection of a client that writes bytes as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def at(cls, port: int, address: str = "127.0.0.1") -> Caller:
        """Somebody who calls from `address`, one of this machine's."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))

    def say(self, text: str) -> None:
        if not self._writer.is_closing():
            self._writer.write(text.encode("latin-1"))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        async with asyncio.timeout(20):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def is_closed(self) -> bool:
        """Wait until the server closes the connection."""
        try:
            async with asyncio.timeout(20):
                while await self._reader.read(65536):
                    pass
        except ConnectionError:
            return True
        return self._reader.at_eof()

    def close(self) -> None:
        self._writer.close()


async def asked(port: int, request: str) -> tuple[int, dict[str, str], bytes]:
    caller = await Caller.at(port)
    caller.say(request)
    try:
        return await caller.answer()
    finally:
        caller.close()


def get(target: str = "/", **headers: str) -> str:
    given = {"Host": "localhost"} | headers
    return f"GET {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items()) + "\r\n"


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
    "long url": (get(f"/?{'a' * 2000}"), 414),
    "long path": (get(f"/{'a' * 2000}"), 414),
    "large header": (get(X="a" * 9000), 431),
    "many headers": (get(**{f"X{number}": "a" * 90 for number in range(100)}), 431),
    "a body": (get(**{"Content-Length": "5"}) + "hello", 413),
    "a body without end": (get(**{"Transfer-Encoding": "chunked"}) + "5\r\nhello\r\n", 413),
    "no http": ("\x00\x01\x02\r\n\r\n", 400),
    "a name that leads here": (get(Host="evil.example.com"), 421),
    "an address like that": (get(Host="127.0.0.1.evil.example.com:80"), 421),
    "a userinfo like that": (get(Host="localhost@evil.example.com"), 421),
    "a host that is none": (get(Host="[::1"), 421),
    "an empty host": (get(Host=""), 421),
    "a page of somebody else": (get(Origin="https://evil.example.com"), 403),
    "a sandboxed page": (get(Origin="null"), 403),
    "another method": (get().replace("GET", "POST"), 405),
    "another protocol": (get(Connection="Upgrade", Upgrade="websocket"), 200),
}


@pytest.mark.parametrize(("request_", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_no_page_needs_is_refused(request_: str, status: int) -> None:
    async with served() as port:
        found, _, _ = await asked(port, request_)
        assert found == status
        assert (await asked(port, get()))[0] == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "localhost.", "127.0.0.1:80", "[::1]:80", "192.168.1.7"])
async def test_addresses_and_the_machines_own_name_are_hosts(host: str) -> None:
    async with served() as port:
        assert (await asked(port, get(Host=host, Origin=f"http://{host}")))[0] == 200


@pytest.mark.parametrize(
    ("bound", "hosts", "host", "status"),
    [
        ("127.0.0.1", "status.example.com, other", "status.example.com", 200),
        ("127.0.0.1", "status.example.com", "evil.example.com", 421),
        ("127.0.0.1", "*", "anything", 200),
        ("0.0.0.0", "", "anything", 200),  # noqa: S104  # who listens for all cannot know his names
        ("0.0.0.0", "status.example.com", "anything", 421),  # noqa: S104  # a value
    ],
)
async def test_further_names_are_a_setting(bound: str, hosts: str, host: str, status: int) -> None:
    async with served(bound, hosts) as port:
        assert (await asked(port, get(Host=host)))[0] == status


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


@pytest.mark.parametrize(
    ("proxies", "caller", "seen"),
    [
        ("", "127.0.0.1", "http 127.0.0.1"),
        ("127.0.0.2", "127.0.0.1", "http 127.0.0.1"),
        ("127.0.0.2", "127.0.0.2", "https 192.0.2.9"),
        ("127.0.1.0/24,::1", "127.0.1.7", "https 192.0.2.9"),
    ],
)
async def test_where_a_request_is_from_is_believed_of_a_proxy_that_is_named_alone(
    proxies: str, caller: str, seen: str
) -> None:
    async def who(request: Request) -> Response:
        assert request.client is not None
        return PlainTextResponse(f"{request.url.scheme} {request.client.host}")

    async with served(pages=Starlette(routes=[Route("/", who)]), proxies=proxies) as port:
        one = await Caller.at(port, caller)
        headers = [f"Host: localhost:{port}", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-Proto: https"]
        one.say("\r\n".join(["GET / HTTP/1.1", *headers, "", ""]))
        assert (await one.answer())[2].decode() == seen
