"""Requests over one connection: each gets its own answer, whatever becomes of the others."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest
from nats.aio.msg import Msg

from registry.broker.connection import connect_nats
from tests.support.world import World


async def test_each_of_many_requests_under_way_gets_its_own_answer(world: World) -> None:
    async with connect_nats(world.nats_url, "answers") as there, connect_nats(world.nats_url, "asks") as client:
        asked: list[Msg] = []

        async def answer_last_first(message: Msg) -> None:
            asked.append(message)
            if len(asked) == 20:
                for one in reversed(asked):
                    await one.respond(one.data)

        await there.subscribe(f"{world.prefix}.echo", cb=answer_last_first)
        await there.flush()

        # when
        requests = [client.request(f"{world.prefix}.echo", b"%d" % number, timeout=20) for number in range(20)]
        answers = await asyncio.gather(*requests)

        # then
        assert [message.data for message in answers] == [b"%d" % number for number in range(20)]
        assert len({message.reply for message in asked}) == 20


async def test_a_request_that_nobody_hears_or_answers_fails_and_the_next_is_answered(world: World) -> None:
    async with connect_nats(world.nats_url, "answers") as there, connect_nats(world.nats_url, "asks") as client:
        asked: list[Msg] = []

        async def answer_the_second(message: Msg) -> None:
            asked.append(message)
            if len(asked) == 2:
                await asked[0].respond(b"late")
                await asked[1].respond(b"in time")

        await there.subscribe(f"{world.prefix}.echo", cb=answer_the_second)
        await there.flush()

        # when, then
        with pytest.raises(nats.errors.NoRespondersError):
            await client.request(f"{world.prefix}.nobody", timeout=20)
        with pytest.raises(nats.errors.TimeoutError):
            await client.request(f"{world.prefix}.echo", timeout=0.2)
        assert (await client.request(f"{world.prefix}.echo", timeout=20)).data == b"in time"


async def test_a_request_on_a_closed_connection_fails_at_once(world: World) -> None:
    async with connect_nats(world.nats_url, "asks") as client:
        pass

    # when, then
    with pytest.raises(nats.errors.ConnectionClosedError):
        await client.request(f"{world.prefix}.nobody", timeout=20)
