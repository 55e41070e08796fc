"""The HTTP server: uvicorn on a socket that is bound before anything else starts, with limits of its connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from publisher.web.connections import LimitedProtocol, Line
from registry.authority import written
from registry.errors import Unusable

BACKLOG = 128
"""Connections that wait to be accepted; as many are at once, beyond the limit."""
MOST_UNREAD_BYTES = 16 * 1024
"""Of a request that is not whole."""
KEEP_ALIVE_SECONDS = 5
STOP_SECONDS = 5


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own, since the service decides when to stop; quiet while nobody asks."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Wait to be cancelled; uvicorn itself looks ten times a second whether it is to end, and what time it is."""
        await asyncio.Event().wait()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `Unusable` when the address cannot be used.

    `::` is all addresses, those of IPv4 as well; a name that has addresses of both is that of IPv4.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        return socket.create_server(address, family=family, dualstack_ipv6=address[0] == "::")
    except (OSError, OverflowError) as error:
        errno = getattr(error, "errno", None)  # the library's own text has the address once more, as a tuple
        reason = os.strerror(errno) if errno and errno > 0 else getattr(error, "strerror", None) or str(error)
        raise Unusable(f'setting http_host/http_port: cannot listen on "{written(host, port)}": {reason}') from error


async def serve(application: ASGIApp, listener: socket.socket, *, proxies: str = "") -> None:
    """Answer requests on `listener` by `application` until cancelled.

    Whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed, `proxies` has: addresses or networks, by comma.
    """
    config = uvicorn.Config(
        application,
        http=partial(LimitedProtocol, line=Line()),  # type: ignore[arg-type]  # called as a class is
        ws="none",
        backlog=BACKLOG,
        h11_max_incomplete_event_size=MOST_UNREAD_BYTES,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        proxy_headers=proxies != "",
        forwarded_allow_ips=proxies,
        server_header=False,
        log_config=None,
        access_log=False,
        lifespan="off",
    )
    server = _Server(config)
    try:
        await server.serve(sockets=[listener])
    except asyncio.CancelledError:
        server.should_exit = True
        await server.shutdown(sockets=[listener])
        raise
