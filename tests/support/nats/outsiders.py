"""What the users outside of the registry's account may send, as the pages of deploy/nats say it, and what is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import orjson
from nats.aio.client import Client

from registry.client import Access
from tests.support.nats.deployed import Deployed
from tests.support.nats.permissions import lines_of_teams, lines_of_users

COMPONENTS = ("command", "query", "durable", "live")


def may_send(user: str) -> list[str]:
    """What the pages say that a user may send."""
    lines = [line for line in lines_of_users() + lines_of_teams() if line.action in {"publish", "sends"}]
    return [line.subject for line in lines if user in line.allowed]


def bodies(subject: str, target: str) -> list[bytes]:
    """Requests on `subject` of which the answer, or what they ask for, could come to `target`."""
    if ".CONSUMER.CREATE." in subject:
        pushed = {"deliver_subject": target, "ack_policy": "none", "inactive_threshold": 10**9}
        return [orjson.dumps({"stream_name": "IMI_EVENTS", "config": {"name": "c", **pushed}}), b"{}"]
    if ".CONSUMER.MSG.NEXT." in subject:
        return [b'{"batch": 2, "no_wait": true}', b""]
    if ".MSG.GET." in subject:
        return [b'{"seq": 1}', b'{"last_by_subj": ">"}']
    if subject.startswith("$JS.ACK."):
        return [b'+NXT {"batch": 2}', b"+ACK"]
    if ".DELETE." in subject:
        return []  # it would do what it is for
    return [b"{}", b'{"seq": 1}']


@asynccontextmanager
async def outsider(deployed: Deployed, user: str, *, reconnect: bool = True) -> AsyncIterator[Client]:
    """Such a user's connection, by nothing but nats-py; what the server refuses is passed over."""

    async def ignore(_: Exception) -> None:
        """There are thousands of them."""

    access = Access(**deployed.access(user))
    client = await nats.connect(
        deployed.url,
        user=user,
        password=access.password_now(),
        tls=access.ssl_context(),
        inbox_prefix=access.inbox_prefix.encode(),
        error_cb=ignore,
        allow_reconnect=reconnect,
    )
    try:
        yield client
    finally:
        await client.close()
