"""What ends a part of the service, and what does not."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from publisher.health import Health
from publisher.part import Part
from publisher.settings import load
from publisher.web.status import problems_and_notes
from registry.concurrency.tasks import end
from registry.errors import Conflict, Unavailable, Unprepared


class Flaky(Part):
    """Fails with each of `errors`, then works."""

    def __init__(self, *errors: Exception) -> None:
        settings = load(database_url="postgresql://localhost/x", nats_url="nats://localhost")
        super().__init__(settings, Health("flaky", CollectorRegistry()))
        self._errors = list(errors)
        self.problems: list[list[str]] = []

    async def work(self) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.health.well()
        self.settled.set()
        await asyncio.Event().wait()

    def interrupted(self) -> None:
        self.problems.append(self.health.problems())


async def test_a_part_waits_for_servers_and_outlives_its_bugs() -> None:
    away, lacking = Unavailable("away"), Unprepared("no right")
    part = Flaky(away, ExceptionGroup("of its tasks", [lacking]), ValueError("a bug"), TimeoutError())

    task = asyncio.create_task(part.run())
    async with asyncio.timeout(5):
        await part.settled.wait()
    assert part.problems == [
        ["away"],
        ["no right"],
        ["the flaky failed, see the log: ValueError: a bug"],
        ["the flaky failed, see the log: TimeoutError"],
    ]
    assert part.health.problems() == []
    assert (part.health.interrupted, part.health.crashed) == (2, 2)
    assert part.health.registry.get_sample_value("imi_flaky_crashes_total") == 2
    await end([task])
    assert task.cancelled()


async def test_a_part_ends_with_what_waiting_cannot_heal() -> None:
    part = Flaky(ExceptionGroup("of its tasks", [Conflict("another stream")]))

    with pytest.raises(Conflict, match="another stream"):
        await part.run()
    assert part.health.crashed == 0


def test_what_is_told_of_a_part_is_text_for_a_page_and_for_a_terminal() -> None:
    health = Health("flaky", CollectorRegistry())
    health.failed(Unavailable("held by <b>\x1b[2J\u202e, postgresql://u:s3cret@h/d"))
    problems, _ = problems_and_notes([health])
    assert problems[0].endswith(r"held by <b>\x1b[2J\u202e, postgresql://***@h/d")
