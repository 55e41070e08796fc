"""From a template to an answer: everything is escaped, and a browser is told to run and load nothing but ours."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from publisher.text import visible
from publisher.web.console.console import console_of
from publisher.web.console.files import url_of
from publisher.web.console.health import summary
from publisher.web.console.json_view import marked

FOLDER = Path(__file__).parent / "templates"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {"content-security-policy": POLICY, "referrer-policy": "same-origin"}
"""Beside those of the guard. With no referrer at all a browser would not tell with a form where it comes from."""

MS_A_SECOND = 1000
FEW = 10
"""Of fewer the tenths are told."""
PARTS_AT_ONCE = 32
"""Values and texts of a template: some tenths of a millisecond."""

PAGES = (
    ("/", "Overview"),
    ("/events", "Events"),
    ("/projects", "Projects"),
    ("/commands", "Commands"),
    ("/dead-letters", "Dead letters"),
    ("/streams", "Streams"),
    ("/health", "Health"),
    ("/proof", "Proof"),
)


@cache
def templates() -> Environment:
    """The templates. What a registry holds is hostile: each value is made visible, and escaped, wherever it stands."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "ago": ago,
        "time": stamp,
        "exact_time": exactly,
        "count": count,
        "short": short,
        "json": marked,
        "duration": duration,
        "milliseconds": milliseconds,
        "rate": rate,
        "size": size,
    }
    environment.globals |= {"file": url_of, "pages": PAGES}
    return environment


def fragment(template: str, **values: Any) -> str:
    """A piece of a page."""
    return templates().get_template(template).render(**values)


async def fragment_apart(template: str, **values: Any) -> str:
    """The same, made a bit at a time: what else this process has to do, as publishing events, goes on in between."""
    parts: list[str] = []
    for number, part in enumerate(templates().get_template(template).generate(**values)):
        parts.append(part)
        if number % PARTS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return "".join(parts)


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A whole page, with all that is around it."""
    console = console_of(request)
    text = fragment(
        template,
        path=request.url.path,
        here=values.pop("here", request.url.path + (f"?{request.url.query}" if request.url.query else "")),
        can_act=console.sessions.can_act,
        health=summary(console),
        searched=values.pop("searched", ""),
        told=console.told(request.query_params.get("told", "")),
        **values,
    )
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def piece(request: Request, template: str, **values: Any) -> Response:
    """A piece of a page that a script has asked for."""
    text = fragment(template, can_act=console_of(request).sessions.can_act, **values)
    return HTMLResponse(text, headers=HEADERS)


def is_piece(request: Request) -> bool:
    """Whether a script asks, for a piece."""
    return request.headers.get("hx-request") == "true"


def _shown(value: Any) -> Any:
    if value is None:
        return ""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def stamp(value: datetime | None) -> str:
    """A time in UTC to the millisecond, for `datetime` and for people without a script."""
    if value is None:
        return ""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exactly(value: datetime) -> str:
    """A time in UTC with all its digits: what a link says that means this moment."""
    return value.astimezone(UTC).isoformat()


def ago(value: datetime | None) -> str:
    """How long ago, in a word."""
    if value is None:
        return "never"
    return f"{duration((datetime.now(UTC) - value).total_seconds())} ago"


def duration(seconds: float) -> str:
    """A length of time in a word."""
    seconds = max(seconds, 0)
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def milliseconds(value: float) -> str:
    """A short time, with as many digits as say something."""
    if value >= MS_A_SECOND:
        return f"{value / MS_A_SECOND:.1f} s"
    return f"{value:.1f} ms" if value < FEW else f"{value:.0f} ms"


def rate(value: float) -> str:
    """How often in a second: a small one with its tenths."""
    return f"{value:.1f}" if 0 < value < FEW else f"{value:,.0f}"


def size(count_of_bytes: float) -> str:
    """Bytes in a word."""
    for length, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count_of_bytes >= length:
            return f"{count_of_bytes / length:.1f} {unit}"
    return f"{count_of_bytes:.0f} bytes"


def count(value: float | None) -> str:
    """A number with its thousands apart."""
    return "-" if value is None else f"{value:,.0f}"


def short(value: str | None) -> str:
    """The beginning of an id."""
    return "" if value is None else str(value)[:8]
