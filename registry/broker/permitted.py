"""nats-py's client, with what it does not do: say that a server refused a subject, insist on TLS, come back.

A server that permits a subject not says so once, to nobody in particular; who asked waits for an answer until its time
is up. Here the request on that subject fails at once, and its error names the subject. nats-py writes the server's text
in lower case, so the subject is looked up among those in use.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Coroutine, Iterable
from secrets import token_hex
from time import monotonic
from typing import Any
from urllib.parse import ParseResult, unquote, urlparse

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from registry.broker.access import ANYBODY, Access
from registry.broker.hearing import HearingClient
from registry.broker.parting import PartingClient
from registry.errors import Invalid

VIOLATION = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)

NOBODY_LISTENS = "503"
"""Status with which a server answers for those whom there are none of."""
NO_MORE_SUBSCRIPTIONS = "maximum subscriptions exceeded"
"""What a server says, and goes on, when the account has as many as it may."""
FLUSH_SECONDS = 10
AGAIN_SECONDS = 1.0
"""A client makes subscriptions anew at most this often: the server logs each that it refuses."""
REMEMBERED = 32
"""Subjects that are kept on which it may not publish. A sender may name any number of subjects for his answers."""


Place = tuple[str | None, int | None]
"""Host and port of a server."""


class NotPermitted(nats.errors.Error):
    """The account may not use a subject."""


class PermittedClient(HearingClient, PartingClient):
    """Sends no credentials in clear where TLS was asked for, and fails what is not permitted."""

    def __init__(self, access: Access = ANYBODY, *, requires_tls: bool = False) -> None:
        super().__init__()
        self._access = access
        self._requires_tls = requires_tls or access.requires_tls
        self._asked: dict[asyncio.Future[Msg], tuple[str, str]] = {}
        """On which subject was asked, and on which the answer comes."""
        self._refused_publishes: dict[str, NotPermitted] = {}
        self._refused: dict[int, NotPermitted] = {}
        """By the id of a subscription. Replaced, not changed."""
        self._again_at = 0.0
        self._crowded: NotPermitted | None = None

    def jetstream(self, **options: Any) -> JetStreamContext:
        """As nats-py's, in the domain of this client."""
        return super().jetstream(**{"domain": self._access.js_domain} | options)

    @property
    def api(self) -> str:
        """What subjects of JetStream's API begin with."""
        domain = self._access.js_domain
        return f"$JS.{domain}.API" if domain else "$JS.API"

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """From the files as they are now: nats-py asks for every connection it makes."""
        try:
            return self._access.ssl_context()
        except Invalid as error:
            raise nats.errors.Error(str(error)) from error

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,  # noqa: ARG002  # nats-py's other way
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As nats-py's, awaiting one future, which the answer or a refusal ends. Raises `NotPermitted`, too."""
        if not self._resp_sub_prefix:
            await self._init_request_sub()
        inbox = (self._resp_sub_prefix or b"").decode()  # none: it was closed meanwhile
        if self._refused:
            await self.subscribe_again()
            if (refusal := self.refusal(f"{inbox}*")) is not None:
                raise NotPermitted(str(refusal))
        token = token_hex(16)
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._resp_map[token] = answer
        self._asked[answer] = (subject, f"{inbox}*")
        try:
            await self.publish(subject, payload, f"{inbox}{token}", headers)
            async with asyncio.timeout(timeout):
                message = await answer
        except TimeoutError:
            raise nats.errors.TimeoutError from None
        finally:
            del self._asked[answer]
            self._resp_map.pop(token, None)
        if message.headers and message.headers.get("Status") == NOBODY_LISTENS:
            raise nats.errors.NoRespondersError
        return message

    async def subscribe_again(self) -> None:
        """Make those anew that the server refused, as before a reload. They count as refused until it takes them."""
        if not self._refused or not self.is_connected or monotonic() < self._again_at:
            return
        self._again_at = monotonic() + AGAIN_SECONDS
        before = self._refused
        for sid in before:
            if sid in self._subs:
                await self._send_subscribe(self._subs[sid])
        await self.flush()
        await self.flush()  # the first one may have overtaken them
        self._refused = {sid: refusal for sid, refusal in self._refused.items() if refusal is not before.get(sid)}

    async def unless_refused(self, subject: str, inbox: str, coming: Coroutine[Any, Any, Msg]) -> Msg:
        """What comes to `inbox` in answer to a message on `subject`. Raises `NotPermitted` when that cannot be."""
        answer = asyncio.ensure_future(coming)
        refused: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._asked[refused] = (subject, inbox)
        try:
            await asyncio.wait({answer, refused}, return_when=asyncio.FIRST_COMPLETED)
            return refused.result() if refused.done() else answer.result()
        finally:
            del self._asked[refused]
            answer.cancel()
            refused.cancel()

    def refused(self, error: Exception) -> NotPermitted | None:
        """Take note of what the server said; returns the error it means when a subject is not permitted."""
        if NO_MORE_SUBSCRIPTIONS in str(error).lower():
            self._crowded = NotPermitted("the account has as many subscriptions as it may have")
            self._fail(self._asked, self._crowded)
            return self._crowded
        violation = VIOLATION.search(str(error))
        if violation is None:
            return None
        action, subject = violation.groups()
        refusal = NotPermitted(f"permissions violation for {action} to {self._as_written(subject)}")
        if action == "publish":
            others = [one for one in self._refused_publishes.items() if one[0] != subject]
            self._refused_publishes = dict([*others[1 - REMEMBERED :], (subject, refusal)])
        else:  # of which of those on one subject it does not say
            made = [sid for sid, subscription in self._subs.items() if subscription.subject.lower() == subject]
            self._refused = self._refused_subscriptions | dict.fromkeys(made, refusal)
        needed = 0 if action == "publish" else 1
        self._fail([waiting for waiting, asked in self._asked.items() if asked[needed].lower() == subject], refusal)
        return refusal

    @staticmethod
    def _fail(waiting: Iterable[asyncio.Future[Msg]], refusal: NotPermitted) -> None:
        for one in waiting:
            if not one.done():
                one.set_exception(refusal)

    async def flush(self, timeout: int = FLUSH_SECONDS) -> None:
        """As nats-py's, which cancels what waits for an answer that is late: over that, its reader would end later."""
        if self.is_closed or self._reading_task is None or self._reading_task.done():
            await super().flush(timeout)
            return
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await self._send_ping(answer)
        await asyncio.wait([answer], timeout=timeout)
        if not answer.done():
            raise nats.errors.FlushTimeoutError

    @property
    def is_heard(self) -> bool:
        """Whether the server has said its first word."""
        return bool(self._server_info)

    def refusal(self, *subjects: str) -> NotPermitted | None:
        """What the server refuses, of `subjects` where some are given: a subscription, else what it refused last."""
        wanted = {subject.lower() for subject in subjects}
        made = {self._subs[sid].subject.lower(): refusal for sid, refusal in self._refused_subscriptions.items()}
        found = [one for subject, one in (self._refused_publishes | made).items() if not wanted or subject in wanted]
        return found[-1] if found else None

    def refused_subscription(self) -> NotPermitted | None:
        """What the server refuses of those that were made."""
        return self._crowded or next(iter(self._refused_subscriptions.values()), None)

    @property
    def _refused_subscriptions(self) -> dict[int, NotPermitted]:
        """Those that are not closed."""
        return {sid: refusal for sid, refusal in self._refused.items() if sid in self._subs}

    def _as_written(self, subject: str) -> str:
        known = [sent for sent, _ in self._asked.values()] + [made.subject for made in self._subs.values()]
        return next((one for one in known if one.lower() == subject), subject)

    def _connect_command(self) -> bytes:
        """What tells the server who we are. Raises when that was to be told under TLS alone, and there is none."""
        if self._requires_tls and not self._is_under_tls():
            raise nats.errors.Error("a URL or setting asks for TLS and the server has none: nothing was sent to it")
        self._crowded, self._refused = None, {}
        if self._access.identities:  # a server that takes in anybody does not ask
            self._auth_configured = True
        self._take_userinfo()
        try:
            if self._access.nkey is not None:
                self._public_nkey = self._access.user_key().public
            return super()._connect_command()
        except Invalid as error:
            raise nats.errors.Error(str(error)) from error

    def _is_under_tls(self) -> bool:
        """Whether what is sent now goes through TLS: what the connection says, which a server cannot claim."""
        carrier = getattr(self._transport, "_ws", None) or getattr(self._transport, "_io_writer", None)
        return carrier is not None and carrier.get_extra_info("ssl_object") is not None

    def _take_userinfo(self) -> None:
        """Say who we are as the URL does, which has some characters encoded; nats-py sends them as they stand there."""
        uri = self._current_server.uri if self._current_server is not None else None
        if uri is None or uri.username is None:
            return
        if uri.password is None:
            self.options["token"] = unquote(uri.username)
        else:
            self.options |= {"user": unquote(uri.username), "password": unquote(uri.password)}

    async def _process_connect_init(self) -> None:
        """Let the stream know that it is under TLS, which asyncio would warn of at the end of each connection."""
        await super()._process_connect_init()
        protocol = getattr(getattr(self._transport, "_io_writer", None), "_protocol", None)
        if protocol is not None and hasattr(protocol, "_over_ssl"):
            protocol._over_ssl = self._server_info.get("tls_required", False)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Take TLS where the server leaves the choice, and who and how we are to the servers that this one names."""
        if self._requires_tls and info.get("tls_available"):
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)
        current = self._current_server.uri if self._current_server else urlparse("")
        userinfo = current.netloc.rpartition("@")[0]
        named = {_place(urlparse(f"nats://{url}")) for url in info.get("connect_urls") or ()}
        known: set[Place] = set()
        for server in list(self._server_pool):
            place = _place(server.uri)
            is_gone = bool(named) and place not in named and server is not self._current_server
            if server.discovered and (place in known or is_gone):
                self._server_pool.remove(server)
            elif server.discovered and userinfo and "@" not in server.uri.netloc:
                server.uri = server.uri._replace(netloc=f"{userinfo}@{server.uri.netloc}")
            if server.discovered and current.scheme in {"ws", "wss"}:
                server.uri = server.uri._replace(scheme=current.scheme)
            known.add(place)

    async def _process_err(self, err_msg: str) -> None:
        """Connect anew after what nats-py takes for the end of the client, as when a user was changed on the server."""
        text = str(err_msg).strip(" '\"\r\n").lower()
        if "permissions violation" in text or "stale connection" in text:
            await super()._process_err(err_msg)
            return
        error = nats.errors.Error(f"nats: {text}")
        await self._error_cb(error)
        if NO_MORE_SUBSCRIPTIONS not in text:
            await self._process_op_err(error)


def _place(uri: ParseResult) -> Place:
    return uri.hostname, uri.port


def refusal_of(client: Client, *subjects: str) -> NotPermitted | None:
    """What the server refused to `client` last, of `subjects` where some are given."""
    return client.refusal(*subjects) if isinstance(client, PermittedClient) else None


async def unless_refused(client: Client, subject: str, inbox: str, coming: Coroutine[Any, Any, Msg]) -> Msg:
    """What comes to `inbox` in answer to a message on `subject`. Raises `NotPermitted` when that cannot be."""
    return await (client.unless_refused(subject, inbox, coming) if isinstance(client, PermittedClient) else coming)


def api_of(client: Client) -> str:
    """What subjects of JetStream's API begin with for `client`."""
    return client.api if isinstance(client, PermittedClient) else "$JS.API"
