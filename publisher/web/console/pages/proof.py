"""The proof: that the tables are what the events tell, and that the stream has each of them once and in order."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from publisher.web.console.console import console_of
from publisher.web.console.forms import acting
from publisher.web.console.render import HEADERS, is_piece, page, piece
from publisher.web.console.sources.proof import KINDS
from registry.errors import NotFound
from registry.validation import printable


async def _proof(request: Request) -> Response:
    runs = console_of(request).proofs.runs
    if is_piece(request):
        return piece(request, "proof/proof_runs.html", runs=runs)
    return page(request, "proof/proof.html", runs=runs, kinds=KINDS)


async def _start(request: Request) -> Response:
    session, _ = await acting(request)
    console, kind = console_of(request), request.path_params["kind"]
    if kind not in KINDS:
        raise NotFound(f"{printable(kind)} is no proof")
    console.proofs.start(kind, session.name)
    console.log.note(session.name, "proof started", kind, "done")
    return await _all(request)


async def _all(_: Request) -> Response:
    """Where somebody goes on who was asked to sign in for one."""
    return RedirectResponse("/proof", status_code=303, headers=HEADERS)


ROUTES = [
    Route("/proof", _proof, methods=["GET"]),
    Route("/proof/{kind}", _all, methods=["GET"]),
    Route("/proof/{kind}", _start, methods=["POST"]),
]
