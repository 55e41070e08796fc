"""Signals that end a program: told to its loop, and at no moment left to their default, which is to end at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from publisher.cli.servers import session
from registry.concurrency.signals import ENDING, ignore_ending, tell_loop

LOOPS = [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")]


@pytest.fixture
def left_to_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The ending signals that were left to their default for a moment, in order; what was there comes back."""
    before = {number: signal.getsignal(number) for number in ENDING}
    found: list[int] = []
    handle = signal.signal

    def noted(number: int, handler: Any) -> Any:
        if handler == signal.SIG_DFL:
            found.append(number)
        return handle(number, handler)

    for number in ENDING:
        handle(number, lambda *_: None)
    monkeypatch.setattr(signal, "signal", noted)
    yield found
    for number, handler in before.items():
        handle(number, handler)


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("number", ENDING)
def test_a_signal_is_told_and_then_ignored(run: Callable[..., None], number: int, left_to_default: list[int]) -> None:
    async def work() -> None:
        told = asyncio.Event()
        tell_loop(number, told.set)
        os.kill(os.getpid(), number)
        await asyncio.wait_for(told.wait(), 10)
        ignore_ending()
        os.kill(os.getpid(), number)

    run(work())
    os.kill(os.getpid(), number)
    assert left_to_default == []


def test_a_command_is_cancelled_and_its_handlers_come_back(left_to_default: list[int]) -> None:
    handlers = [signal.getsignal(number) for number in ENDING]

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(10)

    with pytest.raises(SystemExit) as ended:
        session.run(work())
    assert ended.value.code == 128 + signal.SIGTERM
    assert [signal.getsignal(number) for number in ENDING] == handlers
    assert left_to_default == []


def test_one_that_is_ignored_as_under_nohup_stays_so(left_to_default: list[int]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def work() -> None:
        tell_loop(signal.SIGHUP, pytest.fail)

    asyncio.run(work())
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert left_to_default == []
