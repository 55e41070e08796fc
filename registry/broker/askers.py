"""Who asks, as far as NATS tells it: so that whoever asks much waits behind himself alone, and where he is answered."""

from __future__ import annotations

import re

import orjson
from nats.aio.msg import Msg

from registry.broker.access import ALL_INBOXES
from registry.broker.permitted import PermittedClient
from registry.validation import INBOX

BETWEEN_ACCOUNTS = "_R_"
"""What a server puts in the place of an inbox of another account."""
CLIENT_INFO = "Nats-Request-Info"
"""Header of a server, which tells the account that a request came from; one that the client made up is replaced."""
MOST_CHARACTERS = 100
ANSWERED = re.compile(INBOX.encode() + rb"|_R_(\.[!-)+-=?-~]+)+")
"""Subjects for answers: inboxes, and what a server puts in their place between accounts."""


def asker_of(message: Msg) -> str:
    """Who takes turns as one: another account, which the server tells, else a prefix of inboxes or a connection.

    `_INBOX.flume.…` and `_INBOX_flume.…` are of the user that may have answers there alone, `_INBOX.<random>.…` is of
    one connection.
    """
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


class AnsweringClient(PermittedClient):
    """One that answers whoever asks, at an inbox and nowhere else.

    A server lets a sender name any subject for his answer, also one on which he may not publish and we may: an event's,
    or one of JetStream's API. Such a request is none.
    """

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """As nats-py's, of messages that want no answer, or want it where answers come."""
        if not reply or ANSWERED.fullmatch(bytes(reply)):
            await super()._process_msg(sid, subject, reply, data, headers)
