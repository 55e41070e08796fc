"""Connections to NATS, and the translation of its errors into the one tree of `registry/errors.py`."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import sample
from typing import Any
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import WebSocketTransport

from registry.authority import check_hosts
from registry.broker.access import ANYBODY, Access
from registry.broker.askers import AnsweringClient
from registry.broker.errors import connect_reason, from_nats, is_denied, reason_of, translated_nats
from registry.broker.permitted import PermittedClient, refusal_of
from registry.broker.silence import is_silence, waits_for_tls
from registry.concurrency.outage import Outage
from registry.errors import Invalid, Unavailable
from registry.log import log
from registry.urls import redacted, redacted_server
from registry.validation import printable

_refusals = Outage("nats")
"""Of all connections of this process: each new one may be refused the same again. Nothing tells when that is over."""

CONNECT_TIMEOUT_SECONDS = 5
WEBSOCKETS = {"ws", "wss"}
TLS_SCHEMES = {"tls", "wss"}
SCHEMES = {"nats"} | WEBSOCKETS | TLS_SCHEMES
SERVER_ERROR = re.compile(rb"-ERR '([ -~]*)'")
PING_SECONDS, MOST_UNANSWERED = 10, 2
"""So often a server is asked whether it is there, and so many times at most without a word of it: a connection that
stands and carries nothing, as behind a proxy that hangs, is lost within 30 s."""
PENDING_BYTES = 32 * 1024 * 1024
"""Outgoing bytes nats-py holds before a publish waits for the socket: more than a full batch."""


@asynccontextmanager
async def connect_nats(
    url: str,
    name: str,
    access: Access = ANYBODY,
    *,
    reconnect: bool = True,
    answers: bool = False,
    on_closed: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[Client]:
    """Connect to the server (or one of the comma-separated servers of a cluster) at `url` for the length of the block.

    `name` is shown by the server's monitoring. With `reconnect` a connection lost later is restored for ever in the
    background; without, it is closed and `on_closed` awaited. With `answers` it is for
    answering whoever asks, at inboxes alone. Raises `Invalid` for a URL that is none, `Unavailable` when no server
    answers now, or none takes this client.
    """
    servers = servers_in(url, access)
    dialer = _Dialer(servers, name, access, on_closed, AnsweringClient if answers else PermittedClient)
    client, server = await dialer.first_that_answers()
    if reconnect:
        # nats-py retries the first connection for ever when told to restore lost ones: only ask that of a server that
        # has just answered.
        await client.close()
        client = await dialer.open([server, *(other for other in servers if other != server)], restore=True)
    try:
        yield client
    finally:
        await client.close()


class _Dialer:
    """Makes connections for one client."""

    def __init__(
        self,
        servers: list[str],
        name: str,
        access: Access,
        on_closed: Callable[[], Awaitable[None]] | None,
        kind: type[PermittedClient],
    ) -> None:
        self._servers = servers
        self._name = name
        self._access = access
        self._on_closed = on_closed
        self._requires_tls = any(urlsplit(server).scheme in TLS_SCHEMES for server in servers)
        self._kind = kind
        self._client = kind()
        self._cause: Exception | None = None
        self._is_restored = False

    async def first_that_answers(self) -> tuple[Client, str]:
        """A connection that is not restored, to one of the servers in any order.

        Raises `Unavailable` with every reason. One at a time: nats-py gives up all of them when one refuses.
        """
        reasons: list[str] = []
        for server in sample(self._servers, len(self._servers)):
            try:
                return await self.open([server], restore=False), server
            except Unavailable as error:
                reasons.append(str(error))
        raise Unavailable("; ".join(reasons))

    async def open(self, servers: list[str], *, restore: bool) -> Client:
        """A connection to the first of `servers` that answers. Raises `Unavailable`."""
        self._cause = None
        self._client = client = self._kind(self._access, requires_tls=self._requires_tls)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS * len(servers)):
                await client.connect(
                    servers,
                    name=self._name,
                    error_cb=self._on_error,
                    closed_cb=self._on_closed,
                    connect_timeout=CONNECT_TIMEOUT_SECONDS,
                    allow_reconnect=restore,
                    max_reconnect_attempts=-1 if restore else 1,
                    ping_interval=PING_SECONDS,
                    max_outstanding_pings=MOST_UNANSWERED,
                    reconnect_time_wait=0.25,  # type: ignore[arg-type]  # annotated int, used as seconds of any kind
                    pending_size=PENDING_BYTES,
                    dont_randomize=True,
                    tls_handshake_first=self._access.tls_handshake_first,
                    inbox_prefix=self._access.inbox_prefix,
                    **_identity(self._access),
                )
            if not client.is_connected:  # nats-py takes an end for an answer
                raise nats.errors.UnexpectedEOF  # told as what it raises itself
        except (OSError, TimeoutError, nats.errors.Error, ValueError) as error:
            await _abandoned(client)
            cause = _hidden(client) or self._cause or error  # NoServersError hides why; what nats-py reported does not
            where = redacted(",".join(servers))
            reason = f"{connect_reason(cause, self._access)}{self._remark(cause)}"
            if is_silence(cause):
                reason += await self._why_silent(servers)
            raise Unavailable(f"cannot connect to NATS at {where}: {reason}") from error
        self._is_restored = restore
        client.options["dont_randomize"] = False  # from now on: not all clients are to move to the same server
        return client

    async def _why_silent(self, servers: list[str]) -> str:
        """Why nothing came in time, in words: TLS is waited for by who takes a connection and says no word in it."""
        is_taken = getattr(self._client._transport, "_io_reader", None) is not None
        may_wait = is_taken and not self._client.is_heard and not self._access.tls_handshake_first
        if may_wait and len(servers) == 1 and await waits_for_tls(servers[0]):
            see = self._access.see("tls_handshake_first")
            return f" (it waits for TLS before its first word{':' if see else ''}{see})"
        return " (is it stopped, or overloaded?)"

    async def _on_error(self, error: Exception) -> None:
        self._cause = error
        is_first = self._client.refusal() is None
        refusal = self._client.refused(error)
        server = redacted(",".join(self._servers))
        if refusal is not None and is_first:
            _refusals.failed(refusal, "nats refuses", server=server)
        elif self._is_restored and is_denied(error):  # before that it is raised
            _refusals.failed(Unavailable(f"{reason_of(error)}{self._remark(error)}"), "nats refuses", server=server)
        else:
            log.debug("nats connection", server=server, error=reason_of(error))

    def _remark(self, error: Exception) -> str:
        """What may explain that no server takes this client: one said `error`."""
        if is_denied(error) and any(map(_is_of_up, self._servers)):
            return " (imi-registry up makes a new token at each start: read its endpoints.json again)"
        return self._access.remark(error)


async def _abandoned(client: Client) -> None:
    """Let go of a connection that was not made. By websockets a session is open then, whose end is to be waited for."""
    transport = client._transport
    if transport is None:
        return
    transport.close()  # type: ignore[no-untyped-call]  # nats-py annotates it not
    if isinstance(transport, WebSocketTransport):
        await transport.wait_closed()  # type: ignore[no-untyped-call]


def _hidden(client: Client) -> Exception | None:
    """What TLS, or the server, said at the end of a connection of which a writer knows no more than that it is lost."""
    reader = getattr(client._transport, "_io_reader", None)
    if reader is None:
        return None
    said = SERVER_ERROR.search(bytes(reader._buffer))
    if said is not None:
        text = said[1].decode(errors="replace")
        return nats.errors.Error(f"nats: {text}")
    found = reader.exception()
    return found if isinstance(found, ssl.SSLError) else None


def _identity(access: Access) -> dict[str, Any]:
    """What tells nats-py who this is. It calls the functions for each connection, so that files are read anew."""
    if access.creds is not None:
        return {
            "user_jwt_cb": lambda: access.credentials().jwt.encode(),
            "signature_cb": lambda nonce: access.credentials().key.sign(nonce),
        }
    if access.nkey is not None:
        return {"signature_cb": lambda nonce: access.user_key().sign(nonce)}
    if access.user is not None:
        return {"user": access.user, "password": access.password_now}
    if access.token is not None or access.token_file is not None:
        return {"token": access.token_now}
    return {}


async def heard(client: Client) -> None:
    """Return when the server answers now, and has every subscription.

    Raises `Unavailable`, at once when the connection is lost; `Unprepared` while it refuses a subscription.
    A connection that is restored is lost, and made again, without a word.
    """
    if not client.is_connected:
        raise Unavailable("the connection to NATS is lost, and is made again as soon as NATS takes it")
    await flushed(client)


async def flushed(client: Client) -> None:
    """Return once the server has what was sent: subscriptions stand, messages are out.

    Raises `Unavailable`; `Unprepared` when it refuses a subscription.

    nats-py's flush pings past what is still in its buffer (measured: in one of ten the subscription came after); behind
    the first answer the buffer is out, so the second tells that the server has it.
    """
    with translated_nats("NATS does not answer"):
        if isinstance(client, PermittedClient):
            await client.subscribe_again()
        await client.flush(CONNECT_TIMEOUT_SECONDS)
        await client.flush(CONNECT_TIMEOUT_SECONDS)
    refusal = client.refused_subscription() if isinstance(client, PermittedClient) else None
    if refusal is not None:
        raise from_nats(refusal, "NATS refuses") from refusal


async def check_permitted(client: Client, doing: str, subjects: Sequence[str]) -> None:
    """Raise `Unprepared` where the server lets `client` say nothing on one of `subjects`, on which nobody listens.

    `doing` opens the message. Raises `Unavailable`.
    """
    with translated_nats(doing):
        for subject in subjects:
            await client.publish(subject)
    await flushed(client)
    refusal = refusal_of(client, *subjects)
    if refusal is not None:
        raise from_nats(refusal, doing) from refusal


def _is_of_up(server: str) -> bool:
    """Whether a URL may be one that `imi-registry up` told: a token, and this machine."""
    parts = urlsplit(server)
    return bool(parts.username) and parts.password is None and parts.hostname in {"127.0.0.1", "localhost"}


def servers_in(url: str, access: Access = ANYBODY) -> list[str]:
    """The servers in `url`.

    Raises `Invalid` naming one that is none, or never has the TLS that is asked for, or says who this is as `access`
    does, too.
    """
    servers = [server.strip() for server in url.split(",")]
    schemes = {_scheme(server) for server in servers}
    if schemes & WEBSOCKETS and schemes - WEBSOCKETS:
        raise Invalid(f"NATS URL {printable(redacted(url))}: it must not have websockets beside other servers")
    if "ws" in schemes and ("wss" in schemes or access.requires_tls):
        raise Invalid(f"NATS URL {printable(redacted(url))}: TLS is asked for, and ws:// is without it; give wss://")
    if schemes & WEBSOCKETS and importlib.util.find_spec("aiohttp") is None:
        raise Invalid(f"NATS URL {printable(redacted(url))}: for websockets the package aiohttp must be installed")
    if access.identities and any("@" in urlsplit(server).netloc for server in servers):
        raise Invalid(f"NATS URL {redacted(url)} and setting {access.identities[0]}: both say who this is; give one")
    return servers


def _scheme(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
        is_good &= "@" not in parts.path + parts.query + parts.fragment  # a password that was cut
    except ValueError:
        is_good = False
    if not is_good:
        raise Invalid(
            f"NATS URL {printable(redacted_server(url))} is not of the form nats://[TOKEN@|USER:PASSWORD@]HOST[:PORT]"
        )
    try:
        check_hosts(parts.hostname or "")
    except ValueError as error:
        raise Invalid(f"NATS URL {printable(redacted_server(url))}: {error}") from None
    return parts.scheme
