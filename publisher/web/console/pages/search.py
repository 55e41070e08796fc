"""Search: one box on every page, for names, paths, agents, and ids of all kinds."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from publisher.web.console.console import console_of
from publisher.web.console.render import page
from publisher.web.console.sources.found import Results, search
from registry.errors import Invalid
from registry.validation import check_text

MOST_CHARACTERS = 200


async def _search(request: Request) -> Response:
    text = request.query_params.get("q", "").strip()
    check_text(text, "q")
    if len(text) > MOST_CHARACTERS:
        raise Invalid(f"q: it has {len(text)} characters, at most {MOST_CHARACTERS} are allowed")
    found = await search(console_of(request).database, text) if text else Results([], [], [])
    number = text if text.isascii() and text.isdecimal() and len(text) < 19 else ""
    return page(request, "search.html", searched=text, found=found, number=number)


ROUTES = [Route("/search", _search)]
