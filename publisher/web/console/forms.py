"""Forms that do something: only from who has a session, in a page of this console."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

from publisher.web.console.console import console_of
from publisher.web.console.errors import Forbidden
from publisher.web.console.session import Session
from publisher.web.guard import page_of
from registry.authority import parsed

MOST_FIELDS = 200
SESSION, SESSION_HEADER = "session", "imi-session"
"""Who acts, in a form and in what a script asks."""


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form, which is there whole; of one that is there twice the last. Raises `HTTPException`."""
    return _fields_in(await request.body())


def _fields_in(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(400, f"the form is not UTF-8, or has more than {MOST_FIELDS} fields") from None
    return dict(pairs)


async def acting(request: Request) -> tuple[Session, dict[str, str]]:
    """Who wants something done, and the fields of their form. Raises `Forbidden` for everybody who may not.

    Raises `HTTPException` for who has done very much just now.
    """
    check_is_ours(request)
    fields = await fields_of(request)
    session = console_of(request).sessions.known(fields.pop(SESSION, None))
    if session is None:
        raise Forbidden("sign in with the token first: up prints a link, serve takes it from IMI_HTTP_TOKEN")
    check_wait(console_of(request).acts.wait_seconds(session.key), "actions")
    return session, fields


def asking(request: Request) -> Session | None:
    """Who asks for a piece, where they have signed in."""
    return console_of(request).sessions.known(request.headers.get(SESSION_HEADER))


def check_wait(seconds: int, what: str) -> None:
    """Raise `HTTPException` for who did so much that they are to wait."""
    if seconds:
        said = f"too many {what}: try again in {seconds} s"
        raise HTTPException(429, said, headers={"retry-after": str(seconds)})


def check_is_ours(request: Request) -> None:
    """Raise `Forbidden` for a form that is in a page of somebody else, as far as the browser tells."""
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is not None and page_of(origin) != parsed(host):
        raise Forbidden("the form is in a page of somebody else")
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise Forbidden("the form is in a page of somebody else")
