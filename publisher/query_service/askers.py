"""Who asks a query, and reading on while somebody is answered: so that whoever asks much waits behind himself alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.request import Request

from registry.broker.access import ALL_INBOXES
from registry.concurrency.tasks import end
from registry.log import log

BETWEEN_ACCOUNTS = "_R_"
"""What a server puts in the place of an inbox of another account."""
CLIENT_INFO = "Nats-Request-Info"
"""Header of a server, which tells the account that a request came from; one that the client made up is replaced."""
MOST_CHARACTERS = 100


def asker_of(request: Request) -> str:
    """Who takes turns as one: another account, which the server tells, else a prefix of inboxes or a connection.

    `_INBOX.flume.…` and `_INBOX_flume.…` are of the user that may have answers there alone, `_INBOX.<random>.…` is of
    one connection.
    """
    message = request._msg
    first, _, rest = message.reply.partition(".")
    if first == BETWEEN_ACCOUNTS:
        return f"account {account_in(str((message.headers or {}).get(CLIENT_INFO, '')))}"
    return f"{first}.{rest.partition('.')[0]}" if first == ALL_INBOXES else first


def account_in(information: str) -> str:
    """The account that a server names; none where it is not told, which is one for all of these."""
    try:
        told = orjson.loads(information)
    except ValueError:
        return ""
    return str(told.get("acc", ""))[:MOST_CHARACTERS] if isinstance(told, dict) else ""


@asynccontextmanager
async def side_by_side(client: Client) -> AsyncIterator[Client]:
    """`client`, with subscriptions whose messages are handled side by side: nats-py handles one after the other."""
    answering = _SideBySide(client)
    try:
        yield cast("Client", answering)
    finally:
        await end(answering.tasks)


class _SideBySide:
    def __init__(self, client: Client) -> None:
        self._client = client
        self.tasks: set[asyncio.Task[None]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def subscribe(self, subject: str, queue: str = "", *, cb: Callable[[Msg], Awaitable[None]]) -> Any:
        """As the client's; what is handled at the same time is for `cb` to bound."""

        async def handle(message: Msg) -> None:
            try:
                await cb(message)
            except (nats.errors.Error, ValueError) as error:  # it wants no answer, or is gone
                log.debug("query not answered", subject=subject, reason=str(error))

        async def begin(message: Msg) -> None:
            task = asyncio.create_task(handle(message))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

        return await self._client.subscribe(subject, queue=queue, cb=begin)
