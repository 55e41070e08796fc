"""What is answered over HTTP: how the service is, at once, and the pages of the console, once somebody looks at one."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from publisher.web import status
from publisher.web.console.console import Console

READING = {"GET", "HEAD"}


class Application:
    """The status page, which needs nothing but this process, at `/status`, and the console beside it.

    Who asks for `/status`, `/healthz`, `/readyz` or `/metrics` waits for no page, however many others ask for those.

    The pages are imported with the first request for one, in a thread, so that events flow meanwhile: with their
    templates they are 4 MiB of a service that is asked by nobody but its supervisor.
    """

    def __init__(self, console: Console) -> None:
        routes = status.routes(console.relay, console.applier, console.others, page_path="/status")
        self._console = console
        self._status = Starlette(routes=routes)
        self._status_paths = {route.path for route in routes}
        self._pages: ASGIApp | None = None
        self._importing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_about_status = scope["path"] in self._status_paths and scope["method"] in READING
        answering = self._status if is_about_status else await self._all_pages()
        await answering(scope, receive, send)

    async def _all_pages(self) -> ASGIApp:
        async with self._importing:
            if self._pages is None:
                self._pages = await asyncio.to_thread(_pages, self._console)
        return self._pages


def _pages(console: Console) -> ASGIApp:
    from publisher.web.console.bounded import BoundedPages
    from publisher.web.console.pages.routes import pages

    return BoundedPages(pages(console))
