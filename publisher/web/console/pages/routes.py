"""The routes of the console, and beside them those of the status page."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from publisher.web import status
from publisher.web.console import files
from publisher.web.console.console import Console
from publisher.web.console.errors import ERROR_HANDLERS
from publisher.web.console.pages import (
    causes,
    commands,
    dead_letters,
    events,
    health,
    overview,
    proof,
    registered,
    search,
    sign_in,
    streams,
)


def pages(console: Console) -> Starlette:
    """All pages of a service, those about its status as well."""
    routes: list[BaseRoute] = [
        *overview.ROUTES,
        *events.ROUTES,
        *registered.ROUTES,
        *search.ROUTES,
        *commands.ROUTES,
        *dead_letters.ROUTES,
        *streams.ROUTES,
        *health.ROUTES,
        *proof.ROUTES,
        *causes.ROUTES,
        *sign_in.ROUTES,
        *files.ROUTES,
        *status.routes(console.relay, console.applier, console.others, page_path="/status"),
    ]
    found = Starlette(routes=routes, exception_handlers=ERROR_HANDLERS)
    found.state.console = console
    return found
