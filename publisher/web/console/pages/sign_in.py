"""Signing in with the token, by the link that `up` prints or by a form; signing out."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from publisher.web.console.console import console_of
from publisher.web.console.errors import Forbidden
from publisher.web.console.forms import acting, asking, check_is_ours, check_wait, fields_of
from publisher.web.console.render import HEADERS, is_piece, page, piece
from publisher.web.console.session import NOBODY

WRONG_SECONDS = 0.5
"""Until a wrong token is answered."""


async def _shown(request: Request) -> Response:
    token = request.query_params.get("token")
    if token is not None:
        return await _signed_in(request, token, NOBODY, "/")
    return _form(request, _own_path(request.query_params.get("to", "/")))


async def _sent(request: Request) -> Response:
    check_is_ours(request)
    fields = await fields_of(request)
    return await _signed_in(request, fields.get("token", ""), fields.get("name", ""), _own_path(fields.get("to", "/")))


async def _signed_in(request: Request, token: str, name: str, to: str) -> Response:
    console = console_of(request)
    if not console.sessions.can_act:
        raise Forbidden("this console only shows: start the service with IMI_HTTP_TOKEN to act in it")
    address = request.client.host if request.client else ""
    session = console.sessions.sign_in(token, name)
    if session is None:
        check_wait(console.tries.wait_seconds(address), "wrong tokens")
        await asyncio.sleep(WRONG_SECONDS)
        return _form(request, to, wrong=True)
    console.log.note(session.name, "signed in", address, "done")
    return page(request, "signed_in.html", made=session, to=to, here=to)


def _form(request: Request, to: str, *, wrong: bool = False) -> Response:
    """A form, in a page that does not repeat its own address, in which a token may stand."""
    return page(request, "sign_in.html", status=403 if wrong else 200, wrong=wrong, to=to, here=to)


async def _sign_out(request: Request) -> Response:
    session, _ = await acting(request)
    console_of(request).log.note(session.name, "signed out", "", "done")
    return await _is_out(request)


async def _is_out(_: Request) -> Response:
    """Where somebody goes on whose session was over before."""
    return RedirectResponse("/", status_code=303, headers=HEADERS)


async def _log(request: Request) -> Response:
    if not is_piece(request):
        return page(request, "log.html")
    if asking(request) is None:
        raise Forbidden("the log of actions is for those who may act: sign in first")
    entries, problem = await console_of(request).log.shown()
    return piece(request, "log_entries.html", entries=entries, problem=problem)


def _own_path(path: str) -> str:
    """A path of this console; anything else, as an address of somebody else, is the overview."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else "/"


ROUTES = [
    Route("/sign-in", _shown, methods=["GET"]),
    Route("/sign-in", _sent, methods=["POST"]),
    Route("/sign-out", _is_out, methods=["GET"]),
    Route("/sign-out", _sign_out, methods=["POST"]),
    Route("/log", _log),
]
