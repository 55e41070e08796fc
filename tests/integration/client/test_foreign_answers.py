"""Answers that are none: whoever may answer may send any bytes, and the client raises its own errors for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from nats.aio.msg import Msg

from registry.client import RegistryClient, Sending
from registry.client.history import HistoryPages
from registry.client.snapshot import take_snapshot
from registry.errors import OutcomeUnknown, RegistryError
from registry.events.filter import EventFilter
from registry.history.pages import history_subject
from registry.history.snapshot import snapshot_subject
from registry.position import Position
from tests.support.world import World

ANSWERS = {
    "nothing": b"",
    "text": b"what?",
    "an array": b"[]",
    "another object": b"{}",
    "a number": b"7",
    "no UTF-8": b'{"next": "\xff"}\n1 2 x\n{}',
    "half a page": b'{"next": null, "lost_before": 0}\n1 2',
    "a row that is none": b'{"position": "1.1.0.0"}\nP{"id": 7}\nE\n',
}
KNOWN = "none that this version knows"


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_page_of_history_that_is_none_is_an_error_of_ours(world: World, answer: str) -> None:
    await world.nats.subscribe(history_subject(world.profile), cb=answering(ANSWERS[answer]))
    await world.nats.flush()
    pages = HistoryPages(world.nats, world.profile, Position(0), Position(9), EventFilter())
    with pytest.raises(RegistryError, match=KNOWN):
        await pages.next()


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_snapshot_that_is_none_is_an_error_of_ours(world: World, answer: str) -> None:
    await world.nats.subscribe(snapshot_subject(world.profile), cb=answering(ANSWERS[answer] + b"\n"))
    await world.nats.flush()
    with pytest.raises(RegistryError, match=KNOWN):
        await take_snapshot(world.nats, world.profile)


@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_outcome_that_is_none_leaves_the_outcome_unknown(world: World, answer: str) -> None:
    async with world.relay(), world.applier():  # so that there is a stream of commands; nothing is applied any more
        pass

    async def reply(message: Msg) -> None:
        inbox = message.data.partition(b'"replyto":"')[2].partition(b'"')[0]
        await world.nats.publish(inbox.decode(), ANSWERS[answer])

    await world.nats.subscribe(world.profile.commands.command_subject("project.register"), cb=reply)
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        with pytest.raises(OutcomeUnknown, match="no outcome that this version knows"):
            await client.register_project(name="p", remote_origin="git@github.com:a/p.git", sending=Sending(timeout=10))


def answering(data: bytes) -> Callable[[Msg], Awaitable[None]]:
    async def answer(message: Msg) -> None:
        await message.respond(data)

    return answer
