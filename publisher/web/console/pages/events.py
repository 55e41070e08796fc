"""Events: the newest first, live, filtered by what the URL says; and one of them in full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic
from typing import Any
from urllib.parse import urlencode

from sse_starlette import ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from publisher.web.console.console import Console, console_of
from publisher.web.console.health import summary
from publisher.web.console.live import Live, Sent, pause
from publisher.web.console.numbers import number_of
from publisher.web.console.render import HEADERS, fragment, is_piece, page, piece
from publisher.web.console.sources import outbox
from publisher.web.console.sources.feed import News
from publisher.web.console.sources.inspected import inspected
from publisher.web.console.sources.lines import Line
from publisher.web.console.sources.wanted import AGES, Wanted
from registry.errors import Invalid
from registry.events.catalogue import VERSIONS
from registry.validation import printable

NEWS_SECONDS = 3.0
"""How long news are waited for; whether all is well is looked at as often."""
MISSED_SECONDS = 3.0
"""Where more is published than is sent, a page loads its list as often, not for each of the parts."""
BADGE_SECONDS = 0.5
MOST_ROWS, MOST_MADE = 1000, 64
"""Rows, and answers, that are kept for the next page that wants them."""
FIELDS = ("entity", "action", "project", "worktree", "agent", "correlation", "host", "since", "until")


def query_of(given: dict[str, str]) -> str:
    """The part of a URL that says which events are wanted."""
    return urlencode({name: given[name] for name in FIELDS if given.get(name)})


async def _list(request: Request) -> Response:
    console, given = console_of(request), dict(request.query_params)
    wanted = Wanted.of(given)
    hosts = await outbox.host_names(console.database, wanted.host)
    if wanted.host is not None and wanted.host not in hosts:
        known = f"one of {', '.join(hosts)}" if len(hosts) < outbox.MOST_HOSTS else "the name of a host"
        raise Invalid(f"host: {printable(wanted.host)}: it must be {known}")
    before = number_of(given["before"], "before") if given.get("before") else None
    found = await outbox.page_of(console.database, console.profile.event_stream, wanted, before)
    query = query_of(given)
    values: dict[str, Any] = {"found": found, "query": query, "given": {name: given.get(name, "") for name in FIELDS}}
    if is_piece(request):
        return piece(request, "events/events_list.html", **values)
    kinds = sorted({tuple(name.split(".")) for name in VERSIONS})
    return page(
        request,
        "events/events.html",
        entities=sorted({entity for entity, _ in kinds}),
        actions=sorted({action for _, action in kinds}),
        ages=list(AGES),
        hosts=hosts,
        is_first=before is None,
        **values,
    )


async def _one(request: Request) -> Response:
    console = console_of(request)
    found = await inspected(console, number_of(request.path_params["id"], "event"))
    if is_piece(request):
        return piece(request, "events/event_inspected.html", one=found)
    return page(request, "events/event.html", one=found)


async def _envelope(request: Request) -> Response:
    """The bytes of the envelope, as a file."""
    found = await inspected(console_of(request), number_of(request.path_params["id"], "event"))
    headers = HEADERS | {"content-disposition": f'attachment; filename="event-{found.line.id}.json"'}
    return Response(found.payload, media_type="application/cloudevents+json", headers=headers)


async def _news(
    console: Console, wanted: Wanted, after: int | None, *, tells_health: bool
) -> AsyncGenerator[Sent, None]:
    badge = ""
    told: Told = console.shared.setdefault("told", Told(console))
    async with console.feed.watched(after) as place:
        while not console.closing.is_set():
            known, news = after, await console.feed.after(after, NEWS_SECONDS, place)
            after = news.last
            if tells_health and badge != (badge := told.badge()):
                yield ServerSentEvent(badge, event="live")
            if news.missed:
                yield ServerSentEvent("", event="missed", id=str(after))
                await pause(console, MISSED_SECONDS)
            elif news.lines:
                sent = await told.rows(wanted, known, news)
                if sent:
                    yield sent


class Told:
    """What pages that are open are told, made once for all that get the same."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, str] = {}
        """By the id of the event: its number is another one's once the database was restored to an older state."""
        self._sent: dict[tuple[Wanted, int | None, int, str], bytes] = {}
        self._making = asyncio.Lock()
        self._badge = ""
        self._badge_until = 0.0

    def badge(self) -> str:
        """Whether all is well."""
        if monotonic() >= self._badge_until:
            self._badge = fragment("health_live.html", health=summary(self._console))
            self._badge_until = monotonic() + BADGE_SECONDS
        return self._badge

    async def rows(self, wanted: Wanted, known: int | None, news: News) -> bytes:
        """The rows of news that are wanted, for who knows what was published up to `known`; empty when none is."""
        key = (wanted, known, news.last, news.lines[-1].event_id)
        async with self._making:
            if key not in self._sent:
                if len(self._sent) > MOST_MADE:
                    self._sent.clear()
                lines = [line for line in reversed(news.lines) if wanted.matches(line)]
                rows = "".join([await self._row(line) for line in lines])
                self._sent[key] = ServerSentEvent(rows, event="rows", id=str(news.last)).encode() if rows else b""
        return self._sent[key]

    async def _row(self, line: Line) -> str:
        row = self._rows.get(line.event_id)
        if row is None:
            if len(self._rows) > MOST_ROWS:
                self._rows.clear()
            row = fragment("events/event_row.html", line=line, unpublished=line.id + 1)
            self._rows[line.event_id] = row
            await asyncio.sleep(0)  # an event that is to be published does not wait for all of them
        return row


async def _live(request: Request) -> Response:
    wanted = Wanted.of(dict(request.query_params))
    known = request.headers.get("last-event-id") or request.query_params.get("after") or ""
    after = number_of(known, "after") if known else None
    tells_health = "health" in request.query_params
    return Live(_news(console_of(request), wanted, after, tells_health=tells_health))


ROUTES = [
    Route("/events", _list),
    Route("/events/{id}", _one),
    Route("/events/{id}/envelope", _envelope),
    Route("/live/events", _live),
]
