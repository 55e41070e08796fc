"""Who asks, as far as NATS tells it: so that whoever asks much waits behind himself alone."""

from __future__ import annotations

import orjson
from nats.aio.msg import Msg

from registry.broker.access import ALL_INBOXES

BETWEEN_ACCOUNTS = "_R_"
"""What a server puts in the place of an inbox of another account."""
CLIENT_INFO = "Nats-Request-Info"
"""Header of a server, which tells the account that a request came from; one that the client made up is replaced."""
MOST_CHARACTERS = 100


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
