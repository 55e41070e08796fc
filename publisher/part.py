"""A part of the service: it needs both servers, runs until it is cancelled, and says when it has settled.

What waiting may heal is waited for here, for every part and at every moment in the same way: `run` does `work` over
and over. Of a part that looks, or serves on the side, that is every error: the health says what is wrong, and the feed
does not stop for it. Those that carry the service name what ends it: nobody could do their work then. An error that
nobody foresaw is a bug of that part alone: it is logged with its traceback and counted, `/readyz` is red until the part
works again, and the part starts over as it would in a new process; the others go on.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import ClassVar

from publisher.health import Health
from publisher.settings import Settings, profile_of
from registry.broker.connection import servers_in
from registry.concurrency.backoff import Backoff
from registry.concurrency.tasks import first_error
from registry.concurrency.ticks import tick
from registry.errors import Invalid, RegistryError, Unavailable, Unprepared

HEARD_SECONDS = 1.0
"""So often NATS is asked whether it is there, by parts that answer over it."""


class Part:
    """What relay, applier, queries, history, retention and examination have in common."""

    PASSING: ClassVar[tuple[type[RegistryError], ...]] = (RegistryError,)
    """What is waited for. Who carries the service names less, and ends it with anything else."""

    def __init__(self, settings: Settings, health: Health, what: str = "") -> None:
        """`what` is the part's name as PostgreSQL and NATS show it. Raises `Invalid` for a URL that is none."""
        if settings.database_url is None:
            raise Invalid("setting database_url: missing; set DATABASE_URL to the registry's database")
        if settings.nats_url is None:
            raise Invalid("setting nats_url: missing; set NATS_URL to the NATS server")
        servers_in(settings.nats_url, settings.nats_access)
        self.health = health
        self._database_url = settings.database_url
        self._nats_url = settings.nats_url
        self._nats_access = settings.nats_access
        self._settings = settings
        self._profile = profile_of(settings)
        self._name = " ".join(filter(None, ["imi-registry", what, socket.gethostname(), str(os.getpid())]))
        self.settled = asyncio.Event()
        """Set once this part does its work, or knows why another one does it, or it cannot."""

    async def run(self) -> None:
        """Work until cancelled. Raises the `RegistryError` that this part does not wait for."""
        retry = Backoff()
        while True:
            try:
                return await self.work()
            except Exception as caught:  # told apart here, in one place for all parts
                error = first_error(caught)
                if self.is_passing(error):
                    self.health.failed(error)
                elif isinstance(error, RegistryError):
                    raise error from None
                else:
                    self.health.crashes(error)
                self.interrupted()
                await retry.sleep()

    def is_passing(self, error: BaseException) -> bool:
        """Whether what has ended `work` is waited for."""
        return isinstance(error, self.PASSING)

    async def work(self) -> None:
        """Do the work, on connections of its own, until an error ends it. Returning says that there is none."""
        raise NotImplementedError

    async def answer(self, heard: Callable[[], Awaitable[None]]) -> None:
        """Let those be answered who ask over NATS until cancelled. While it is away nobody is, and the health says so.

        `heard` returns when NATS answers, and raises `Unavailable`; where it refuses a subscription `Unprepared`, which
        ends this: they are made anew then.
        """
        while True:
            try:
                await heard()
            except Unprepared:
                raise
            except Unavailable as error:
                self.health.failed(error)
            else:
                self.health.well()
                self.settled.set()
            await tick(HEARD_SECONDS)

    def interrupted(self) -> None:
        """Called when an error has ended `work`, which is to be done again."""
