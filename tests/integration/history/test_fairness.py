"""Who asks for the history without end keeps nobody else waiting, and hears an answer to each request."""

from __future__ import annotations

import asyncio

from nats import connect
from nats.aio.msg import Msg

from registry.client.history import HistoryPages
from registry.events.filter import EventFilter
from registry.history.pages import HistoryRequest, history_subject
from registry.position import Position
from tests.support.histories import write
from tests.support.world import World

FLOOD, FEW = 3_000, 4
ERROR = "Nats-Service-Error-Code"
ALL = (Position(0), Position(10), EventFilter())


async def test_who_floods_the_history_is_busy_and_others_are_answered_in_turn(world: World) -> None:
    write(world.database, projects=5, worktrees=5)
    answers: list[str] = []
    all_there = asyncio.Event()

    async def hear(message: Msg) -> None:
        answers.append((message.headers or {}).get(ERROR, ""))
        if len(answers) == FLOOD:
            all_there.set()

    async with world.relay():
        await world.drained()
    async with world.history():
        flood = await connect(world.nats_url)
        inbox = flood.new_inbox()
        await flood.subscribe(inbox, cb=hear)
        for _ in range(FLOOD):
            await flood.publish(history_subject(world.profile), HistoryRequest(*ALL).encode(), reply=inbox)
        await flood.flush()

        for _ in range(FEW):
            page = await HistoryPages(world.nats, world.profile, *ALL).next()
            assert page is not None
            assert page.events
        served_before = answers.count("")
        await all_there.wait()
        await flood.close()

    assert served_before < FLOOD / 5
    assert set(answers) <= {"", "503"}
