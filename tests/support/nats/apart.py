"""Accounts whose components read a mirror of their own, as deploy/nats/apart.conf.example has them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from nats.aio.client import Client

from registry.broker.connection import connect_nats
from registry.client import Access
from tests.support.nats.deployed import APART, DEPLOY, Deployed
from tests.support.world import World

MIRROR = json.loads((DEPLOY / "mirror.json").read_text())


@asynccontextmanager
async def mirrors(deployed: Deployed) -> AsyncIterator[dict[str, Client]]:
    """The operator of each of these accounts, by its component's name, who has made the mirror; gone afterwards."""
    async with AsyncExitStack() as stack:
        operators = {}
        for user in APART:
            access = Access(**deployed.access(f"{user}_operator"))
            operators[user] = await stack.enter_async_context(connect_nats(deployed.url, "test", access))
            external = MIRROR["mirror"]["external"] | {"deliver": f"imi.mir.v1.{user}"}
            wanted = MIRROR | {"mirror": MIRROR["mirror"] | {"external": external}}
            answer = await operators[user].request("$JS.API.STREAM.CREATE.IMI_EVENTS", json.dumps(wanted).encode())
            assert "error" not in json.loads(answer.data), answer.data
        yield operators
        for operator in operators.values():
            for stream in await operator.jetstream().streams_info():
                await operator.jetstream().delete_stream(stream.config.name)


async def mirrored(there: World, operator: Client) -> None:
    """Wait until a mirror has what the stream has."""
    last = (await there.nats.jetstream().stream_info("IMI_EVENTS")).state.last_seq
    async with asyncio.timeout(60):
        while (await operator.jetstream().stream_info("IMI_EVENTS")).state.last_seq < last:
            await asyncio.sleep(0.05)
