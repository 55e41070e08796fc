"""nats-py's client, with what it does not say: that a server refused a subject, and that a connection has no TLS.

A server that permits a subject not says so once, to nobody in particular; who asked waits for an answer until its time
is up. Here the request on that subject fails at once, and its error names the subject. nats-py writes the server's text
in lower case, so the subject is looked up among those in use.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

INBOXES = "_inbox."
VIOLATION = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)


REMEMBERED = 32
"""Refused subjects that are kept. A sender may name any number of subjects for his answers."""


class NotPermitted(nats.errors.Error):
    """The account may not use a subject."""


class PermittedClient(Client):
    """Sends no credentials in clear where TLS was asked for, and fails what is not permitted."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[asyncio.Future[Msg], str] = {}
        self._refusals: dict[str, NotPermitted] = {}

    async def request(self, subject: str, *arguments: Any, **options: Any) -> Msg:
        """As nats-py's. Raises `NotPermitted`, too."""
        answer = asyncio.ensure_future(super().request(subject, *arguments, **options))
        refused: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._asked[refused] = subject
        try:
            await asyncio.wait({answer, refused}, return_when=asyncio.FIRST_COMPLETED)
            return refused.result() if refused.done() else answer.result()
        finally:
            del self._asked[refused]
            answer.cancel()
            refused.cancel()

    def refused(self, error: Exception) -> NotPermitted | None:
        """Take note of what the server said; returns the error it means when a subject is not permitted."""
        violation = VIOLATION.search(str(error))
        if violation is None:
            return None
        action, subject = violation.groups()
        refusal = NotPermitted(f"permissions violation for {action} to {self._as_written(subject)}")
        self._refusals.pop(subject, None)
        self._refusals[subject] = refusal
        if len(self._refusals) > REMEMBERED:
            del self._refusals[next(iter(self._refusals))]
        is_inbox = action == "subscription" and subject.startswith(INBOXES)  # without it no request is answered
        for waiting, asked in self._asked.items():
            if (is_inbox or asked.lower() == subject) and not waiting.done():
                waiting.set_exception(refusal)
        return refusal

    def refusal(self, *subjects: str) -> NotPermitted | None:
        """What the server refused last, of `subjects` where some are given."""
        wanted = {subject.lower() for subject in subjects}
        found = [refusal for subject, refusal in self._refusals.items() if not wanted or subject in wanted]
        return found[-1] if found else None

    def refused_subscription(self) -> NotPermitted | None:
        """What the server refused of those that were made."""
        made = [subscription.subject for subscription in self._subs.values()]
        return self.refusal(*made) if made else None

    def _as_written(self, subject: str) -> str:
        known = [*self._asked.values(), *[subscription.subject for subscription in self._subs.values()]]
        return next((one for one in known if one.lower() == subject), subject)

    def _connect_command(self) -> bytes:
        """What tells the server who we are. Raises when that was to be told under TLS alone, and there is none."""
        server = self._current_server
        if server is not None and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise nats.errors.Error("the URL asks for TLS and the server has none: nothing was sent to it")
        return super()._connect_command()


def refusal_of(client: Client, *subjects: str) -> NotPermitted | None:
    """What the server refused to `client` last, of `subjects` where some are given."""
    return client.refusal(*subjects) if isinstance(client, PermittedClient) else None


def refused_subscription_of(client: Client) -> NotPermitted | None:
    """What the server refused of the subscriptions of `client`."""
    return client.refused_subscription() if isinstance(client, PermittedClient) else None
