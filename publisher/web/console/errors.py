"""Pages for what went wrong: which rule was broken, what is not there, which server does not answer."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from publisher.web.console.render import is_piece, page, piece
from registry.errors import Conflict, Invalid, NotFound, RegistryError, Unavailable

TITLES = {
    400: "This cannot be asked",
    403: "This needs a session",
    404: "There is no such thing",
    405: "This is not done here",
    409: "This contradicts what is there",
    413: "This form is too large",
    429: "This was too much at once",
    500: "This is a bug of the console",
    503: "A server does not answer",
}


class Forbidden(Exception):
    """Somebody who has no session, or whose form is not of this console, wants something done."""


async def on_registry_error(request: Request, error: Exception) -> Response:
    """What the registry refused, or cannot answer now."""
    match error:
        case NotFound():
            status = 404
        case Invalid():
            status = 400
        case Conflict():
            status = 409
        case Unavailable():
            status = 503
        case _:
            status = 500
    return answer(request, status, str(error))


async def on_http_error(request: Request, error: Exception) -> Response:
    """A path that is none, a method that is none of it."""
    assert isinstance(error, HTTPException)  # noqa: S101  # it is registered for that one
    said = f"{request.url.path} is no page of this console" if error.status_code == 404 else error.detail
    response = answer(request, error.status_code, said)
    response.headers.update(error.headers or {})
    return response


async def on_forbidden(request: Request, error: Exception) -> Response:
    """No session, or no form of ours."""
    return answer(request, 403, str(error))


async def on_bug(request: Request, error: Exception) -> Response:
    """What nobody foresaw: the log has its traceback."""
    return answer(request, 500, f"{type(error).__name__}; the log of this process tells where")


def answer(request: Request, status: int, said: str) -> Response:
    """A page, or a piece of one for a script; one line for everybody else."""
    title = TITLES.get(status, "This did not work")
    if is_piece(request):
        response = piece(request, "error_piece.html", title=title, said=said, status=status)
        response.status_code = status
        return response
    if "text/html" in request.headers.get("accept", "text/html") or "*/*" in request.headers.get("accept", ""):
        return page(request, "error.html", status=status, title=title, said=said, code=status)
    return PlainTextResponse(f"{said}\n", status_code=status)


ERROR_HANDLERS = {
    RegistryError: on_registry_error,
    HTTPException: on_http_error,
    Forbidden: on_forbidden,
    Exception: on_bug,
}
