"""Tasks that run side by side until one fails or all are told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from time import monotonic
from typing import Any, TypeVar

from registry.errors import Unavailable

T = TypeVar("T")

CANCEL_AGAIN_SECONDS = 1.0


async def run_until(
    stop: asyncio.Event, work: Iterable[Coroutine[Any, Any, None]], *, again_seconds: float | None = None
) -> None:
    """Run `work` side by side until `stop` is set or one of it fails; then `end` the rest.

    `stop` is set from then on, whatever the reason, a cancellation of whoever called this among them.

    Raises the first failure, out of a group the first one in it; `RuntimeError` for a task that ends as one that is
    cancelled and was not, of which a `TaskGroup` says nothing. A task that is done before is no reason to stop.
    """
    failures: list[Exception] = []

    async def watched(part: Coroutine[Any, Any, None]) -> None:
        try:
            await part
        except asyncio.CancelledError as error:
            if stop.is_set():
                raise
            failures.append(RuntimeError("a task was cancelled from within").with_traceback(error.__traceback__))
            stop.set()
        except Exception as error:  # raised again below, once the others have ended
            failures.append(error)
            stop.set()

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(watched(part)) for part in work]
        try:
            await stop.wait()
        finally:
            stop.set()
            await end(running, again_seconds)
    if failures:
        raise first_error(failures[0]) from None


async def end(tasks: Iterable[asyncio.Task[Any]], again_seconds: float | None = None) -> None:
    """Cancel `tasks` and wait until they have ended, also where who waits is cancelled meanwhile.

    Again and again: `asyncio.wait_for` of Python 3.11, on which psycopg and nats-py wait, swallows a cancellation that
    comes together with its result. A `TaskGroup` cancels once. What a task does over its end is cut off by the next
    one, which comes after `again_seconds`; `CANCEL_AGAIN_SECONDS` where none are given.
    """
    running = set(tasks)
    told: asyncio.CancelledError | None = None
    cancel_at = monotonic()
    while running:
        if monotonic() >= cancel_at:
            for task in running:
                task.cancel()
            cancel_at = monotonic() + (CANCEL_AGAIN_SECONDS if again_seconds is None else again_seconds)
        try:
            await asyncio.wait(running, timeout=cancel_at - monotonic())
        except asyncio.CancelledError as cancelled:
            told = cancelled
        running = {task for task in running if not task.done()}
    if told is not None:
        raise told


async def in_time(work: Coroutine[Any, Any, T], seconds: float, who: str) -> T:
    """The result of `work`. Raises `Unavailable`, which says that `who` did not answer, when it takes longer.

    Not `asyncio.timeout`: psycopg answers a cancellation by waiting for the server, which may never speak again.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            raise Unavailable(f"{who} did not answer within {seconds:g} s")
        return task.result()
    finally:
        await end([task])


async def unless(is_over: Callable[[], bool], woken: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None where it is over first, which is looked at whenever `woken` is set."""
    task = asyncio.create_task(work)
    task.add_done_callback(retrieved)
    task.add_done_callback(lambda _: woken.set())
    try:
        while not (task.done() or is_over()):
            woken.clear()
            await woken.wait()
        return None if is_over() else task.result()
    finally:
        await end([task])


def retrieved(outcome: asyncio.Future[Any]) -> None:
    """Look at the exception of what is done, as its callback: asyncio logs one that nobody has looked at."""
    if not outcome.cancelled():
        outcome.exception()


def first_error(error: Exception) -> Exception:
    """The first error of a group, however deep; another error is itself."""
    return first_error(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error
