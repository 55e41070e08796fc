"""Connections to NATS, and the translation of its errors into the one tree of `registry/errors.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client

from registry.broker.errors import from_nats, reason_of, translated_nats
from registry.broker.permitted import PermittedClient, refused_subscription_of
from registry.errors import Invalid, Unavailable
from registry.urls import redacted

log = structlog.get_logger()

CONNECT_TIMEOUT_SECONDS = 5
PENDING_BYTES = 32 * 1024 * 1024
"""Outgoing bytes nats-py holds before a publish waits for the socket: more than a full batch."""


@asynccontextmanager
async def connect_nats(
    url: str, name: str, *, reconnect: bool = True, on_closed: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[Client]:
    """Connect to the server (or the comma-separated servers of one cluster) at `url` for the length of the block.

    `name` is shown by the server's monitoring. With `reconnect` a connection lost later is restored for ever in the
    background; without, it is closed and `on_closed` awaited. Raises `Invalid` for a URL that is none, `Unavailable`
    when no server answers now.
    """
    servers = [server.strip() for server in url.split(",")]
    for server in servers:
        _check_url(server)

    causes: list[Exception] = []
    clients: list[PermittedClient] = []

    async def on_error(error: Exception) -> None:
        causes[:] = [error]
        is_first = clients[-1].refusal() is None
        refusal = clients[-1].refused(error)
        if refusal is not None and is_first:  # one line, not one for each event
            log.warning("nats refuses", server=redacted(url), reason=str(refusal))
            return
        log.debug("nats connection", server=redacted(url), error=reason_of(error))

    async def open_client(*, restore: bool) -> Client:
        client = PermittedClient()
        clients[:] = [client]
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS * len(servers)):
                await client.connect(
                    servers,
                    name=name,
                    error_cb=on_error,
                    closed_cb=on_closed,
                    connect_timeout=CONNECT_TIMEOUT_SECONDS,
                    allow_reconnect=restore,
                    max_reconnect_attempts=-1 if restore else 1,
                    reconnect_time_wait=0.25,  # type: ignore[arg-type]  # annotated int, used as seconds of any kind
                    pending_size=PENDING_BYTES,
                )
        except (OSError, TimeoutError, nats.errors.Error, ValueError) as error:
            # NoServersError hides why; what nats-py reported last does not.
            cause = causes[-1] if causes and isinstance(error, nats.errors.NoServersError) else error
            raise Unavailable(f"cannot connect to NATS at {redacted(url)}: {reason_of(cause)}") from error
        return client

    client = await open_client(restore=False)
    if reconnect:
        # nats-py retries the first connection for ever when told to restore lost ones: only ask that of a server that
        # has just answered.
        await client.close()
        client = await open_client(restore=True)
    try:
        yield client
    finally:
        await client.close()


async def flushed(client: Client) -> None:
    """Return once the server has what was sent: subscriptions stand, messages are out.

    Raises `Unavailable`; `Unprepared` when it refused a subscription.

    nats-py's flush pings past what is still in its buffer (measured: in one of ten the subscription came after); behind
    the first answer the buffer is out, so the second tells that the server has it.
    """
    with translated_nats("NATS does not answer"):
        await client.flush(CONNECT_TIMEOUT_SECONDS)
        await client.flush(CONNECT_TIMEOUT_SECONDS)
    refusal = refused_subscription_of(client)
    if refusal is not None:
        raise from_nats(refusal, "NATS refuses") from refusal


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"nats", "tls", "ws", "wss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise Invalid(f'NATS URL "{redacted(url)}" is not of the form nats://[TOKEN@|USER:PASSWORD@]HOST[:PORT]')
