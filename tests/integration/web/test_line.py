"""Requests that come at the same moment: the server begins with one of them in each round of the event loop."""

from __future__ import annotations

import asyncio
import socket

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from publisher.web import connections
from registry.concurrency.tasks import end
from tests.support.web.caller import Caller, get, served

CALLERS = 20


async def test_between_two_requests_all_else_in_the_process_has_its_turn() -> None:
    rounds = 0
    begun: list[int] = []

    async def turn() -> None:
        nonlocal rounds
        while True:
            await asyncio.sleep(0)
            rounds += 1

    async def noting(_: Request) -> Response:
        begun.append(rounds)
        return PlainTextResponse("ok\n")

    async with served(pages=Starlette(routes=[Route("/", noting)])) as port:
        callers = [await Caller.at(port) for _ in range(CALLERS)]
        for caller in callers:  # each is known to the server from here on
            caller.say(get())
            await caller.answer()
        begun.clear()
        turning = asyncio.ensure_future(turn())
        try:
            for caller in callers:
                caller.say(get() + get())
            for caller in 2 * callers:
                assert (await caller.answer())[0] == 200
        finally:
            await end([turning])
            for caller in callers:
                caller.close()
    assert len(begun) == len(set(begun)) == 2 * CALLERS, begun


async def test_with_what_a_connection_asked_that_made_room_meanwhile_nothing_is_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[str] = []

    async def noting(request: Request) -> Response:
        begun.append(request.url.query)
        return PlainTextResponse("ok\n")

    monkeypatch.setattr(connections, "MOST_CONNECTIONS", CALLERS)
    async with served(pages=Starlette(routes=[Route("/", noting)])) as port:
        callers = [await Caller.at(port) for _ in range(CALLERS)]
        for caller in callers:
            caller.say(get())
            await caller.answer()
        for number, caller in reversed(list(enumerate(callers))):
            caller.say(get(f"/?{number}"))
        with socket.create_connection(("127.0.0.1", port)):
            assert await callers[0].is_closed()
            for caller in callers[1:]:
                assert (await caller.answer())[0] == 200
                caller.close()
    assert begun[CALLERS:] == [str(number) for number in reversed(range(1, CALLERS))]
