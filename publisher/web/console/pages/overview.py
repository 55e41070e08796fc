"""The overview: what is in flight now, whether all is well, and how it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from sse_starlette import ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from publisher.web.console.console import Console, console_of
from publisher.web.console.health import checks, summary
from publisher.web.console.live import Live, Sent, pause
from publisher.web.console.render import fragment_apart, page
from publisher.web.console.sparks import spark

TICK_SECONDS = 2.0


def figures(console: Console) -> dict[str, Any]:
    """The samples as sparklines, and for a script all of them in columns."""
    kept = list(console.samples.kept)
    columns = [list(column) for column in zip(*kept, strict=True)] if kept else [[], [], [], [], []]
    return {
        "rate": spark(columns[1]),
        "median": spark(columns[2]),
        "slowest": spark(columns[3]),
        "waiting": spark(columns[4]),
        "columns": orjson.dumps(columns).decode(),
        "last_known": next((sample for sample in reversed(kept) if sample.median_ms is not None), None),
    }


async def _overview(request: Request) -> Response:
    console = console_of(request)
    picture = await console.pictures.latest()
    return page(request, "overview.html", picture=picture, checks=checks(console), **figures(console))


class _Shown:
    """The parts of the page that change, made once for all who look."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._sent = b""
        self._making = asyncio.Lock()

    async def of(self, console: Console, key: tuple[object, ...], **values: Any) -> bytes:
        async with self._making:
            if key != self._key:
                values |= figures(console)
                text = await fragment_apart("overview_live.html", health=summary(console), **values)
                self._key, self._sent = key, ServerSentEvent(text, event="live").encode()
        return self._sent


async def _events(console: Console) -> AsyncGenerator[Sent, None]:
    shown: _Shown = console.shared.setdefault("overview", _Shown())
    while True:
        picture = await console.pictures.latest()
        found = checks(console)
        last = console.samples.kept[-1] if console.samples.kept else None
        key = (picture.number, last and last.at, tuple((check.name, check.state) for check in found))
        yield await shown.of(console, key, picture=picture, checks=found)
        if last is not None:
            yield ServerSentEvent(orjson.dumps(tuple(last)).decode(), event="sample")
        if await pause(console, TICK_SECONDS):
            return


async def _live(request: Request) -> Response:
    return Live(_events(console_of(request)))


ROUTES = [Route("/", _overview), Route("/live/overview", _live)]
