"""Forms that do something: only from who has a session and a form of this console."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

from publisher.web.console.console import console_of, session_of
from publisher.web.console.errors import Forbidden
from publisher.web.console.session import Session, is_same
from publisher.web.guard import page_of
from registry.authority import parsed

MOST_FIELDS = 200
TOKEN = "form"  # noqa: S105  # the name of the field


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
    session = session_of(request)
    if session is None:
        raise Forbidden("sign in with the token first: up prints a link, serve takes it from IMI_HTTP_TOKEN")
    check_wait(console_of(request).acts.wait_seconds(session.cookie), "actions")
    fields = await fields_of(request)
    if not is_same(fields.pop(TOKEN, ""), session.form_token):
        raise Forbidden("the form is of another session: go back, load the page again, and send it once more")
    return session, fields


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
