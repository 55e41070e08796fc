"""Pages, so many at a time: who asks for more waits for a turn, and is told to come again where none comes soon.

A page is read from PostgreSQL and rendered in the process that publishes: however many ask for one, a few are made at a
time. Those who ask are told apart by their address: who floods keeps no place from the others.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from publisher.web.connections import WAITS
from publisher.web.rates import counted_as
from registry.concurrency.turns import Turns
from registry.errors import Busy

PLACES = 4
"""Three for one address: as many as there are connections to PostgreSQL."""
WAIT_SECONDS = 2.0
"""For a turn. As nobody is refused before, those who ask without end cost a refusal each so many seconds."""
AGAIN_SECONDS = 2
FORM_SECONDS = 5.0
"""As much as the head of a request may take: who sends slower holds a connection for no longer."""
UNBOUNDED = ("/static/", "/live/")
"""What is made once for all who ask for it: files, and what open pages are told."""


class BoundedPages:
    """Wraps the pages. A place is taken by a request that is whole, until its answer is made, not until it is sent."""

    def __init__(self, pages: ASGIApp) -> None:
        self._pages = pages
        self._turns = Turns(PLACES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse, one request."""
        if scope["path"].startswith(UNBOUNDED):
            await self._pages(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            async with asyncio.timeout(FORM_SECONDS):
                body = await request.body()
        except TimeoutError:
            await _line(408, "the form did not arrive in time", {"connection": "close"})(scope, receive, send)
            return
        except ClientDisconnect:
            return

        async def read() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async with AsyncExitStack() as place:

            async def send_what_is_made(message: Message) -> None:
                await place.aclose()
                await send(message)

            try:
                scope["state"][WAITS] = True
                await place.enter_async_context(self._turns.turn(counted_as(_address(request)), WAIT_SECONDS))
            except Busy:
                await _busy(request)(scope, read, send)
                return
            finally:
                scope["state"][WAITS] = False
            if not await request.is_disconnected():
                await self._pages(scope, read, send_what_is_made)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _busy(request: Request) -> Response:
    """For programs and for people: a browser that shows it asks again by itself, unless it sent a form."""
    again = {"retry-after": str(AGAIN_SECONDS)}
    if request.method == "POST":
        return _line(503, "busy: others have asked for pages before; nothing was done, send it once more", again)
    said = f"busy: others have asked for pages before; ask again in {AGAIN_SECONDS} s, as a browser does by itself"
    return _line(503, said, again | {"refresh": str(AGAIN_SECONDS)})


def _line(status: int, said: str, headers: dict[str, str]) -> Response:
    """One line, which costs next to nothing."""
    return PlainTextResponse(f"{said}\n", status_code=status, headers=headers)
