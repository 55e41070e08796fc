"""Who asks, as far as NATS tells it: so that whoever asks much waits behind himself alone, and where he is answered."""

from __future__ import annotations

import re
from contextlib import suppress

import nats.errors
import orjson
from nats.aio.msg import Msg

from registry.broker.access import ALL_INBOXES
from registry.broker.answers import refusal_headers
from registry.broker.permitted import PermittedClient
from registry.errors import Invalid
from registry.validation import INBOX

BETWEEN_ACCOUNTS = "_R_"
"""What a server puts in the place of an inbox of another account."""
CLIENT_INFO = "Nats-Request-Info"
"""Header of a server, which tells the account that a request came from. What comes from a leaf node, or through several
accounts, may have been made up there."""
STATUS = ("Status", "Description")
"""Headers with which a server answers in the place of somebody."""
END_OF_HEADERS = b"\r\n\r\n"
MOST_REQUEST_HEADER_BYTES = 8 * 1024
"""With what the server tells."""
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


def told_by_server(headers: bytes) -> str:
    """What the server says of who asks: its line is the last one. Others that read the same a sender may write.

    Empty where that line is not whole: it was joined to the end of one of the sender's.
    """
    name, _, value = headers.removesuffix(END_OF_HEADERS).rpartition(b"\r\n")[2].partition(b": ")
    return value.decode(errors="replace") if name == CLIENT_INFO.encode() else ""


class AnsweringClient(PermittedClient):
    """One that answers whoever asks, at an inbox and nowhere else.

    A server lets a sender name any subject for his answer, also one on which he may not publish and we may: an event's,
    or one of JetStream's API. Such a request is none.
    """

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """As nats-py's, of messages that want no answer, or want it where answers come."""
        if reply and not ANSWERED.fullmatch(bytes(reply)):
            return
        if headers and len(headers) > MOST_REQUEST_HEADER_BYTES:
            if reply:
                await self._refuse(bytes(reply).decode("ascii", "replace"), len(headers))
            return
        await super()._process_msg(sid, subject, reply, data, headers)

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        """Of nats-py's those that are read, and who asks: a request keeps them while it waits."""
        found = await super()._process_headers(headers) or {}
        kept = {name: found[name] for name in STATUS if name in found}
        return None if headers is None else kept | {CLIENT_INFO: told_by_server(headers)}

    async def _refuse(self, reply: str, size: int) -> None:
        """Refuse a request for its headers: reading a million of them would hold up everybody."""
        error = Invalid(f"request has {size} bytes of headers, at most {MOST_REQUEST_HEADER_BYTES} are allowed")
        with suppress(nats.errors.Error):  # as to anybody whose answer cannot be sent
            await self.publish(reply, headers=refusal_headers(error))
