"""An embedded server that is stopped and started within one test, at the same URL."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import psutil

from publisher.embedded.process import EmbeddedServer, Start
from tests.support.threads import in_thread


class Restartable:
    """A running server."""

    def __init__(self, started: Callable[..., AbstractContextManager[EmbeddedServer]]) -> None:
        """`started` is `postgres` or `nats_server` with all its arguments but `start`."""
        self._started = started
        self._stack = ExitStack()
        self._server = self._stack.enter_context(started())
        self.url = self._server.url

    async def stop(self, *, is_crash: bool, by: signal.Signals = signal.SIGKILL) -> None:
        """End it in order, or by a signal that leaves it no time."""
        if is_crash:
            os.kill(self._server.pid, by)
        await in_thread(self._stack.close)

    async def stop_when_idle(self, seconds: float) -> None:
        """Ask a PostgreSQL to end once its sessions have; those that have not by then are ended."""
        os.kill(self._server.pid, signal.SIGTERM)
        await in_thread(self._server.wait, seconds)
        await in_thread(self._stack.close)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended, by whatever cause."""
        return self._server.is_running()

    async def start(self) -> None:
        """Start it again on what it stored."""
        self._server = await in_thread(self._stack.enter_context, self._started(start=Start(is_again=True)))
        assert self._server.url == self.url

    def processes(self) -> list[psutil.Process]:
        """The server's own process, then those that it started."""
        server = psutil.Process(self._server.pid)
        return [server, *server.children(recursive=True)]

    def __enter__(self) -> Restartable:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
