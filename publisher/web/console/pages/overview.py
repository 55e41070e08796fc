"""The overview: what is in flight now, whether all is well, and how it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

import orjson
from sse_starlette import ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from publisher.outbox import known
from publisher.web.console.console import Console, console_of
from publisher.web.console.health import checks, summary
from publisher.web.console.live import Live, Sent, pause
from publisher.web.console.render import fragment_apart, page
from publisher.web.console.sources.samples import Sample
from publisher.web.console.sparks import Spark, spark

TICK_SECONDS = 2.0


class Lines(NamedTuple):
    """The samples as sparklines, and all of them in columns, as JSON for a script that draws its own."""

    rate: Spark
    median: Spark
    slowest: Spark
    waiting: Spark
    columns: str


def lines(console: Console) -> Lines:
    """What a page is sent with; one that is open is told the last sample alone."""
    kept = list(console.samples.kept)
    columns = [list(column) for column in zip(*kept, strict=True)] if kept else [[] for _ in Sample._fields]
    rate, median, slowest, waiting = (spark(column) for column in columns[1:])
    return Lines(rate, median, slowest, waiting, orjson.dumps(columns).decode())


def figures(console: Console) -> dict[str, Any]:
    """What the tiles say in numbers: the last sample, and the last one that knows how long events took."""
    kept = console.samples.kept
    return {
        "last": kept[-1] if kept else None,
        "more_wait": bool(kept) and kept[-1].waiting == known.MOST_WAITING,
        "last_known": next((sample for sample in reversed(kept) if sample.median_ms is not None), None),
    }


async def _overview(request: Request) -> Response:
    console = console_of(request)
    picture = await console.pictures.latest()
    values = figures(console) | {"picture": picture, "checks": checks(console), "lines": lines(console)}
    return page(request, "overview.html", **values)


class Shown:
    """The parts of the page that change, made once for all who look."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._sent = b""
        self._making = asyncio.Lock()

    async def of(self, console: Console, key: tuple[object, ...], **values: Any) -> bytes:
        """All of them, as they go over the wire; made anew when `key` is another one than before."""
        async with self._making:
            if key != self._key:
                values |= figures(console) | {"lines": None}
                text = await fragment_apart("overview_live.html", health=summary(console), **values)
                self._key, self._sent = key, ServerSentEvent(text, event="live").encode()
        return self._sent


async def _events(console: Console) -> AsyncGenerator[Sent, None]:
    shown: Shown = console.shared.setdefault("overview", Shown())
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
