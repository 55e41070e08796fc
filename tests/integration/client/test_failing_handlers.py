"""What is said of a handler that fails, and what counts as a failure."""

from __future__ import annotations

import asyncio
import traceback

import pytest
import structlog

from registry.client import Delivery, RegistryClient
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.world import World


async def test_a_handler_that_awaits_what_others_cancel_has_failed_and_is_called_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.client.subscriber.RETRY_SECONDS", (0.01, 0.01))
    seen = Seen()
    answer: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
    answer.cancel()

    async def handler(delivery: Delivery) -> None:
        nonlocal answer
        awaited, answer = answer, None
        if awaited is not None:
            await awaited
        seen.note(delivery)

    with structlog.testing.capture_logs() as logged:
        async with (
            world.relay(),
            RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
            subscribed(client, handler, durable="d", from_start=True, concurrency=1),
        ):
            change_projects(world.database, 2, projects=1)
            await seen.until(2)

    assert list(seen.sequences.values()) == [[1, 2]]
    (entry,) = [entry for entry in logged if entry["event"] == "handler failed"]
    assert entry["error"] == "RuntimeError: the handler was cancelled from within"
    assert "await awaited" in "".join(traceback.format_exception(entry["exc_info"]))


async def test_an_event_that_keeps_failing_beside_others_that_are_handled_is_one_outage(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.client.subscriber.RETRY_SECONDS", (0.01, 0.01))
    seen = Seen()
    may_end = asyncio.Event()
    tries = 0

    async def handler(delivery: Delivery) -> None:
        nonlocal tries
        if delivery.sequence == 1:
            tries += 1
            if not may_end.is_set():
                raise LookupError("no shelf")
        seen.note(delivery)

    def gone_on() -> int:
        return sum(entry["event"] == "handler goes on" for entry in logged)

    with structlog.testing.capture_logs() as logged:
        async with (
            world.relay(),
            RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
            subscribed(client, handler, durable="d", from_start=True, concurrency=2),
        ):
            change_projects(world.database, 4)
            async with asyncio.timeout(20):
                while not tries:
                    await asyncio.sleep(0.01)
            change_projects(world.database, 12)
            await seen.until(9)  # all of the other three projects
            assert gone_on() == 0
            may_end.set()
            await seen.until(12)
    assert gone_on() == 1
