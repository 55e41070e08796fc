"""Queries as a program asks them that has nothing but a NATS client."""

from __future__ import annotations

import json
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.support.world import World


async def ask(world: World, query: str, payload: bytes = b"") -> Msg:
    """The answer to a query of these bytes."""
    return await world.nats.request(f"{world.prefix}.qry.v1.{query}", payload, timeout=10)


async def control(nats: Client, subject: str, answers: int) -> list[dict[str, Any]]:
    """The `answers` answers to a request of the micro service protocol."""
    inbox = nats.new_inbox()
    subscription = await nats.subscribe(inbox)
    await nats.publish(subject, b"", reply=inbox)
    found = [json.loads((await subscription.next_msg(timeout=10)).data) for _ in range(answers)]
    await subscription.unsubscribe()
    return found
