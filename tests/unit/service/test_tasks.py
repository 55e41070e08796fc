"""Running and ending tasks, among them ones that a library keeps from being cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from registry.concurrency import tasks
from registry.concurrency.tasks import end, run_until


class Failed(Exception):
    """A failure of the test's own."""


async def endless(ended: list[str]) -> None:
    """Waits for ever, and swallows the first cancellation, as `asyncio.wait_for` of Python 3.11 may."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        ended.append("swallowed")
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("cancelled")


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    stop, ended = asyncio.Event(), list[str]()
    asyncio.get_running_loop().call_later(0.01, stop.set)
    async with asyncio.timeout(10):
        await run_until(stop, [endless(ended)])
    assert ended == ["swallowed", "cancelled"]


async def test_a_task_that_swallows_many_is_waited_for_also_by_one_that_is_cancelled_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_AGAIN_SECONDS", 0.01)
    swallowed: list[int] = []

    async def stubborn() -> None:
        while len(swallowed) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(1)

    group = asyncio.create_task(run_until(asyncio.Event(), [stubborn()]))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end([group])
    assert group.cancelled()
    assert len(swallowed) == 3


async def test_the_first_failure_ends_the_others_and_is_raised_out_of_its_group() -> None:
    ended: list[str] = []

    async def failing() -> None:
        async with asyncio.TaskGroup():
            raise Failed

    with pytest.raises(Failed):
        await run_until(asyncio.Event(), [endless(ended), failing()])
    assert ended == ["swallowed", "cancelled"]


async def awaits_what_is_cancelled() -> None:
    answer = asyncio.get_running_loop().create_future()
    answer.cancel()
    await answer


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize("part", [awaits_what_is_cancelled, cancels_itself])
async def test_a_task_that_ends_as_if_it_were_cancelled_is_told_and_ends_the_others(
    part: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="cancelled from within"):
            await run_until(asyncio.Event(), [part(), asyncio.sleep(3600)])
