"""The consumers of a stream: all of them, or an error. In a cluster the server's list may lack some."""

from __future__ import annotations

import orjson
from nats.aio.client import Client
from nats.js.api import ConsumerInfo

from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS, answer_in
from registry.broker.permitted import api_of
from registry.errors import Unavailable


async def consumers_of(client: Client, stream: str) -> list[ConsumerInfo]:
    """Every consumer there is. Raises what nats-py raises; `Unavailable` when the server cannot tell of all of them.

    A consumer of which the leader is lost, or not elected yet, is none that is gone: nats-server names it as missing,
    which nats-py leaves out. Taken for gone, a durable subscription would begin anew.
    """
    found: list[ConsumerInfo] = []
    while True:
        request = orjson.dumps({"offset": len(found)})
        subject = f"{api_of(client)}.CONSUMER.LIST.{stream}"
        message = await client.request(subject, request, timeout=REQUEST_TIMEOUT_SECONDS)
        answer = answer_in(message.data)
        page = [ConsumerInfo.from_response(consumer) for consumer in answer.get("consumers") or []]
        found += page
        if len(found) >= answer["total"]:
            return found
        if not page or answer.get("missing"):
            told = f"nats-server tells of {len(found)} of its {answer['total']} consumers"
            raise Unavailable(f"stream {stream}: {told}; others have no leader now")
