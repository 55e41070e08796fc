"""The applier: one process takes the commands of a stream and has them carried out, any others stand by.

The lead is the stream's consumer (`command_stream.py`); the work itself is `workers.py`.
Why: docs/adr/0005-commands.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from publisher.applier.actors import Actors
from publisher.applier.command_stream import CommandStream
from publisher.applier.dead_letters import DeadLetters
from publisher.applier.metrics import ApplierMetrics
from publisher.applier.reach import Reach
from publisher.applier.workers import Workers
from publisher.health import Role
from publisher.part import Part
from publisher.settings import Settings
from registry.broker.connection import connect_nats
from registry.concurrency.tasks import run_until
from registry.errors import Conflict, NotFound, RegistryError, Unavailable
from registry.log import log

RESIGN_SECONDS = 1.0
"""How long an applier that stops tries to say so."""


class Applier(Part):
    """Carries out the commands of one stream on one database. Any number may run; one leads, the others stand by."""

    PASSING = (Unavailable, NotFound)  # NotFound: whose stream it is has not created it yet

    def __init__(self, settings: Settings, metrics: ApplierMetrics) -> None:
        super().__init__(settings, metrics, "applier")
        self._metrics = metrics
        self._attempts: dict[UUID, int] = {}
        self._has_worked = False

    def is_passing(self, error: BaseException) -> bool:
        """A stream of another configuration ends an applier that finds it at its start, and none that has worked.

        Somebody has made it anew, and reads in `/readyz` what is wrong with it; events go on meanwhile.
        """
        return super().is_passing(error) or (self._has_worked and isinstance(error, Conflict))

    async def work(self) -> None:
        """Stand by, then lead, until that ends."""
        async with self._open() as (stream, dead_letters), Reach(self._database_url, self._name) as reach:
            await self._stand_by(stream, reach)
            try:
                await self._lead(stream, dead_letters, reach)
            finally:
                await self._resign(stream)

    def interrupted(self) -> None:
        """Note that this applier has no role. It has settled: it says why commands wait."""
        self._metrics.became("starting")
        self.settled.set()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[tuple[CommandStream, DeadLetters]]:
        """The streams, on a connection that is not restored: what was delivered over it could be lost."""
        stream: CommandStream | None = None

        async def on_closed() -> None:
            if stream is not None:
                stream.abandon()

        connecting = connect_nats(self._nats_url, self._name, self._nats_access, reconnect=False, on_closed=on_closed)
        async with connecting as client:
            stream = CommandStream(client, self._profile, self._settings)
            await self._find(stream)
            dead_letters = DeadLetters(client, stream.profile, self._settings)
            await self._find(dead_letters)
            self._metrics.count_dead_letters = dead_letters.count
            try:
                yield stream, dead_letters
            finally:
                self._metrics.count_dead_letters = None

    async def _find(self, stream: CommandStream | DeadLetters) -> None:
        """Open a stream, and say so when it had to be made though this applier has used it."""
        if await stream.open() and self._has_worked:
            log.warning("a stream was gone with what it held: made anew", stream=stream.name)

    async def _stand_by(self, stream: CommandStream, reach: Reach) -> None:
        """Wait for the lead, and take it. Who does not reach PostgreSQL leaves it to others."""
        while not (await stream.lead.is_free() and await reach.is_there() and await stream.take_lead()):
            if self._metrics.role != "standby":
                self._metrics.outage.note("standing by", stream=stream.name)
                self._became("standby")
            await stream.lead.wait()
        say = log.info if self._metrics.role == "standby" else self._metrics.outage.note
        say("applying", stream=stream.name)

    def _became(self, role: Role) -> None:
        """Note the role this applier has now."""
        self._metrics.became(role)
        self._has_worked = True
        self.settled.set()

    async def _resign(self, stream: CommandStream) -> None:
        """Give up the lead. An applier that cannot say so is one that was killed; why it ends is what counts."""
        with suppress(RegistryError, TimeoutError):
            async with asyncio.timeout(RESIGN_SECONDS):
                await stream.lead.resign()

    async def _lead(self, stream: CommandStream, dead_letters: DeadLetters, reach: Reach) -> None:
        """Have commands carried out until the lead is lost."""
        self._became("leader")
        actors = Actors(self._settings.actors)
        workers = Workers(
            self._database_url, self._name, stream, dead_letters, stream.profile, self._metrics, actors, self._attempts
        )

        async def leave() -> None:
            await self._resign(stream)
            self._metrics.became("starting")

        try:
            await run_until(asyncio.Event(), [workers.run(), reach.stay(workers.waits_since, leave)])
        except Unavailable as error:
            raise reach.lost or error from None  # once left, the stream gives no more
