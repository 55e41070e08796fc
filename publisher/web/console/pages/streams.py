"""Streams and consumers: what is kept, who reads it, how far behind."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from publisher.outbox.known import Known, known_streams
from publisher.web.console.console import Console, console_of
from publisher.web.console.health import TO_DO
from publisher.web.console.render import page
from publisher.web.console.sources.streams import Streams, streams_of
from registry.errors import RegistryError


async def _streams(request: Request) -> Response:
    console = console_of(request)
    problem = ""
    try:
        found = await streams_of(console.broker, console.profile)
    except RegistryError as error:
        found, problem = Streams([], []), str(error)
    fed, unknown = await _fed(console)
    values: dict[str, Any] = {
        "streams": found,
        "problem": problem,
        "to_do": TO_DO["NATS"],
        "fed": fed,
        "unknown": unknown,
    }
    return page(request, "streams.html", **values)


async def _fed(console: Console) -> tuple[list[Known], str]:
    """What the database tells of the streams that are fed from it, and why it does not."""
    try:
        known = await console.database.ask(partial(known_streams, stream=console.profile.event_stream))
        return [one for one in known if one.is_fed], ""
    except RegistryError as error:
        return [], str(error)


ROUTES = [Route("/streams", _streams)]
