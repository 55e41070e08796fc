"""Pages that very many ask for: some are made at a time, the others wait for a turn or are told to come again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from publisher.web import connections
from publisher.web.console import bounded
from publisher.web.console.bounded import PLACES, BoundedPages
from tests.support.web.caller import LARGE, Caller, get, served

ONE_ADDRESS = PLACES - 1
FORM = (
    "POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    "Content-Length: 3\r\n\r\n"
)


class Held:
    """Pages of which each is made once `go_on` is set."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go_on = asyncio.Event()

    async def page(self, request: Request) -> Response:
        self.begun.append(request.url.query)
        await self.go_on.wait()
        return PlainTextResponse("ok\n")

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.begun) < count:
                await asyncio.sleep(0.01)
        assert len(self.begun) == count, self.begun


async def free(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def large(_: Request) -> Response:
    return Response(b"x" * LARGE)


async def form(request: Request) -> Response:
    return PlainTextResponse((await request.body()).decode())


@asynccontextmanager
async def holding() -> AsyncIterator[tuple[Held, int]]:
    """The pages, and the port at which they are served."""
    held = Held()
    routes = [
        Route("/held", held.page),
        Route("/page", free),
        Route("/static/file", free),
        Route("/live/file", free),
        Route("/large", large),
        Route("/form", form, methods=["POST"]),
    ]
    async with served(pages=BoundedPages(Starlette(routes=routes)), proxies="127.0.0.1") as port:
        try:
            yield held, port
        finally:
            held.go_on.set()


@pytest.fixture(autouse=True)
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn comes in time, however busy this machine is."""
    monkeypatch.setattr(bounded, "WAIT_SECONDS", 60.0)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, long: None) -> None:
    """A wait for a turn for which a test can wait."""
    monkeypatch.setattr(bounded, "WAIT_SECONDS", 0.3)


async def asking(port: int, *targets: str, address: str = "127.0.0.1") -> list[Caller]:
    """Callers of this address, each of whom has asked for a page."""
    callers = [await Caller.at(port, address) for _ in targets]
    for caller, target in zip(callers, targets, strict=True):
        caller.say(get(target))
    return callers


async def statuses(callers: list[Caller]) -> list[int]:
    found = [(await caller.answer())[0] for caller in callers]
    for caller in callers:
        caller.close()
    return found


async def test_who_gets_no_turn_is_told_when_to_come_again_and_gets_one_then(short: None) -> None:
    async with holding() as (held, port):
        first = await asking(port, *["/held"] * ONE_ADDRESS)
        await held.until_begun(ONE_ADDRESS)

        (beyond,) = await asking(port, "/page")
        status, headers, body = await beyond.answer()
        assert (status, headers["retry-after"], headers["refresh"]) == (503, "2", "2")
        assert b"busy: others have asked for pages before; ask again in 2 s" in body
        beyond.say(FORM + "a=b")
        status, headers, body = await beyond.answer()
        assert (status, headers["retry-after"], "refresh" in headers) == (503, "2", False), "a form is not sent again"
        assert b"nothing was done" in body

        held.go_on.set()
        assert await statuses(first) == [200] * ONE_ADDRESS
        for _ in range(2 * PLACES):
            beyond.say(get("/page"))
            assert (await beyond.answer())[0] == 200
        beyond.close()


async def test_who_waits_gets_the_place_of_who_is_done() -> None:
    async with holding() as (held, port):
        first = await asking(port, *["/held"] * ONE_ADDRESS)
        await held.until_begun(ONE_ADDRESS)
        waiting = await asking(port, *["/page"] * 20)
        held.go_on.set()
        assert await statuses(first + waiting) == [200] * (ONE_ADDRESS + 20)


async def test_another_address_has_a_place_of_its_own(short: None) -> None:
    async with holding() as (held, port):
        flood = await asking(port, *["/held"] * 20)
        await held.until_begun(ONE_ADDRESS)
        assert await statuses(await asking(port, "/page", address="127.0.0.2")) == [200]
        behind_proxy = await Caller.at(port)
        behind_proxy.say(get("/page", **{"X-Forwarded-For": "192.0.2.7"}))
        assert await statuses([behind_proxy]) == [200], "a proxy that is named is believed"
        assert await statuses(flood[ONE_ADDRESS:]) == [503] * (20 - ONE_ADDRESS)
        await held.until_begun(ONE_ADDRESS)


async def test_all_addresses_of_one_network_of_ipv6_have_the_places_of_one(short: None) -> None:
    async with holding() as (held, port):
        for number in range(ONE_ADDRESS):
            (await Caller.at(port)).say(get("/held", **{"X-Forwarded-For": f"2001:db8::{number}:1"}))
        await held.until_begun(ONE_ADDRESS)
        for address, status in {"2001:db8::ffff": 503, "[2001:db8::7]:80": 503, "2001:db8:0:1::1": 200}.items():
            one = await Caller.at(port)
            one.say(get("/page", **{"X-Forwarded-For": address}))
            assert await statuses([one]) == [status], address


async def test_files_and_what_open_pages_are_told_wait_for_no_page(short: None) -> None:
    async with holding() as (held, port):
        first = await asking(port, *["/held"] * ONE_ADDRESS)
        await held.until_begun(ONE_ADDRESS)
        assert await statuses(await asking(port, "/static/file", "/live/file")) == [200, 200]
        held.go_on.set()
        await statuses(first)


async def test_a_form_on_its_way_and_an_answer_that_nobody_takes_hold_no_place(short: None) -> None:
    async with holding() as (_, port):
        slow = await asking(port, *["/large"] * PLACES)
        for caller in slow:
            caller.say(get("/page"))
        forms = [await Caller.at(port) for _ in range(PLACES)]
        for caller in forms:
            caller.say(FORM + "a=")
        assert await statuses(await asking(port, *["/page"] * PLACES)) == [200] * PLACES
        for caller in forms:
            caller.say("b")
        assert [(await caller.answer())[2] for caller in forms] == [b"a=b"] * PLACES
        for caller in forms + slow:
            caller.close()


async def test_for_who_is_gone_no_page_is_made() -> None:
    async with holding() as (held, port):
        first = await asking(port, *["/held"] * ONE_ADDRESS)
        await held.until_begun(ONE_ADDRESS)
        for caller in await asking(port, *["/held?gone"] * 20):
            caller.close()
        last = await asking(port, "/held?last")
        held.go_on.set()
        assert await statuses(first + last) == [200] * PLACES
        assert held.begun == [""] * ONE_ADDRESS + ["last"]


async def test_who_waits_for_a_turn_makes_room_before_who_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", ONE_ADDRESS + 5)
    async with holding() as (held, port):
        first = await asking(port, *["/held"] * ONE_ADDRESS)
        await held.until_begun(ONE_ADDRESS)
        waiting = await asking(port, *["/page"] * 5)
        for caller in waiting[:3]:
            assert await statuses(await asking(port, "/static/file")) == [200]
            (one,) = await asking(port, "/page")
            assert await caller.is_closed()
            waiting.append(one)
        held.go_on.set()
        assert await statuses(first) == [200] * ONE_ADDRESS
        for caller in waiting:
            caller.close()
