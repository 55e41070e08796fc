"""The consumers of a stream. In a cluster the server's list may lack some: who takes those for gone is wrong."""

from __future__ import annotations

from typing import NamedTuple

import orjson
from nats.aio.client import Client
from nats.js.api import ConsumerInfo

from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS, answer_in
from registry.broker.permitted import api_of
from registry.errors import Unavailable


class Listed(NamedTuple):
    """What the server tells of the consumers of a stream."""

    found: list[ConsumerInfo]
    problem: str
    """Why it does not tell of all; empty when it does."""


async def listed_consumers(client: Client, stream: str) -> Listed:
    """Those that the server tells of, and whether these are all. Raises what nats-py raises.

    A consumer of which the leader is lost, or not elected yet, is none that is gone: nats-server names it as missing,
    which nats-py leaves out, and counts it among those of a page. Of one whose servers are all away it lists, too, what
    it was made as, without a name.
    """
    found: list[ConsumerInfo] = []
    offset = 0
    while True:
        subject = f"{api_of(client)}.CONSUMER.LIST.{stream}"
        message = await client.request(subject, orjson.dumps({"offset": offset}), timeout=REQUEST_TIMEOUT_SECONDS)
        answer = answer_in(message.data)
        missing, total = answer.get("missing") or [], answer["total"]
        page = [one for one in answer.get("consumers") or [] if one.get("name") and one["name"] not in missing]
        found += map(ConsumerInfo.from_response, page)
        offset += len(page) + len(missing)
        if len(found) >= total:
            return Listed(found, "")
        if offset >= total or (not page and not missing):
            told = f"nats-server tells of {len(found)} of its {total} consumers"
            return Listed(found, f"stream {stream}: {told}; others have no leader now")


async def consumers_of(client: Client, stream: str) -> list[ConsumerInfo]:
    """Every consumer there is. Raises what nats-py raises; `Unavailable` when the server cannot tell of all of them.

    Taken for gone, a durable subscription would begin anew.
    """
    found, problem = await listed_consumers(client, stream)
    if problem:
        raise Unavailable(problem)
    return found
