"""While NATS is away nobody is answered over it: the parts that answer say so, and are well when it is back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from publisher import part
from publisher.health import Health
from publisher.history.service import HistoryService
from publisher.query_service import QueryService
from registry.broker import connection
from tests.support.nats.process import NatsProcess, nats_process
from tests.support.world import World, running


def killed(server: NatsProcess) -> Callable[[], None]:
    server.end()
    return server.start


def stopped(server: NatsProcess) -> Callable[[], None]:
    server.signal(signal.SIGSTOP)
    return lambda: server.signal(signal.SIGCONT)


@pytest.mark.parametrize("away", [killed, stopped])
async def test_queries_and_history_say_while_nats_is_away_that_nobody_is_answered(
    world: World, state_dir: Path, monkeypatch: pytest.MonkeyPatch, away: Callable[[NatsProcess], Callable[[], None]]
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_SECONDS", 2)
    monkeypatch.setattr(part, "HEARD_SECONDS", 0.1)
    with nats_process(state_dir) as server:
        settings = world.at(nats_url=server.url()).settings()
        queries = Health("queries", CollectorRegistry(), consequence="no query is answered: ")
        history = Health("history", CollectorRegistry(), consequence="no replay is answered: ")
        async with running(QueryService(settings, queries)), running(HistoryService(settings, history)):
            assert queries.problems() + history.problems() == []
            back = away(server)
            try:
                async with asyncio.timeout(60):
                    while not (queries.problems() and history.problems()):
                        await asyncio.sleep(0.05)
                told = queries.problems() + history.problems()
            finally:
                back()
            async with asyncio.timeout(60):
                while queries.problems() or history.problems():
                    await asyncio.sleep(0.05)
    assert [text.split(": ")[0] for text in told] == ["no query is answered", "no replay is answered"]
    assert all("NATS" in text for text in told)
