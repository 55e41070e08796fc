"""Forms as strangers send them: too large, too slow, not forms at all; the limits of the server hold for them."""

from __future__ import annotations

import asyncio

import pytest

from publisher.web.console import bounded
from publisher.web.guard import MOST_FORM_BYTES
from tests.support.web.caller import Caller
from tests.support.web.console import served
from tests.support.world import World

FORM = "application/x-www-form-urlencoded"


def post(length: int, kind: str = FORM, body: str = "") -> str:
    head = f"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    return head + body


async def test_a_form_that_is_too_large_or_none_is_refused_before_it_is_read(world: World) -> None:
    async with served(world, works=False) as (visitor, _):
        for request in (
            post(MOST_FORM_BYTES + 1),
            post(10, kind="multipart/form-data; boundary=x"),
            post(10, kind="application/json"),
            post(0).replace("Content-Length: 0", "Transfer-Encoding: chunked") + "5\r\nhello\r\n",
            post(10).replace("POST", "GET"),
        ):
            caller = await Caller.at(visitor.port)
            caller.say(request)
            assert (await caller.answer())[0] == 413, request
            caller.close()


async def test_a_form_that_does_not_arrive_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "FORM_SECONDS", 0.3)
    async with served(world, works=False) as (visitor, _):
        caller = await Caller.at(visitor.port)
        caller.say(post(100, body="token=a"))
        async with asyncio.timeout(20):
            assert (await caller.answer())[0] == 408
            assert await caller.is_closed()


async def test_a_form_that_is_no_text_or_has_too_many_fields_is_refused(world: World) -> None:
    async with served(world, works=False) as (visitor, _):
        for body in ("token=%ff", "&".join(f"a{number}=1" for number in range(300))):
            caller = await Caller.at(visitor.port)
            caller.say(post(len(body), body=body))
            assert (await caller.answer())[0] in (400, 403), body[:20]
            caller.close()
