"""Requests that come at the same moment: the server begins with one of them in each round of the event loop."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from registry.concurrency.tasks import end
from tests.integration.web.test_http_limits import Caller, get, served

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


async def test_a_connection_that_is_lost_in_line_holds_nobody_up() -> None:
    async with served() as port:
        lost = [await Caller.at(port) for _ in range(CALLERS)]
        for caller in lost:
            caller.say(get())
            caller.close()
        caller = await Caller.at(port)
        for _ in range(3):
            caller.say(get())
            assert (await caller.answer())[0] == 200
        caller.close()
