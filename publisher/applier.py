"""The applier: takes commands from the stream, carries each out once, answers, acknowledges.

One process leads, any others stand by (`command_stream.py`). It works on many commands at once, on those that share a
key one after the other (`registry/lanes.py`), and each is one call to the database (`ledger.py`). A command that meets
a fault that may pass stays here, with those behind it, until it succeeds: given back to the server it would lose its
place.
Why: docs/adr/0005-commands.md.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import structlog

from publisher import ledger
from publisher.applier_metrics import ApplierMetrics
from publisher.command_keys import keys
from publisher.command_stream import CommandStream, Received
from publisher.dead_letters import DeadLetters
from publisher.relay import Backoff
from publisher.tasks import run_until
from registry.broker import connect_nats
from registry.command_reader import Command, read
from registry.commands import Outcome
from registry.errors import Invalid, NotFound, Unavailable
from registry.lanes import Job, Lanes
from registry.profiles import profile_of
from registry.settings import Settings

log = structlog.get_logger()

CONNECTIONS = 16
"""Commands carried out at once."""
STANDBY_POLL_SECONDS = 0.5
RETRY_SECONDS = (0.05, 2.0)
"""First and longest wait before a command is tried again."""
MOST_ATTEMPTS = 20
"""A command that the database fails on its own account so often is a dead letter."""


class Work(NamedTuple):
    """A command, and the message it came in."""

    command: Command
    received: Received


class Applier:
    """Carries out the commands of one stream on one database. Any number may run; one leads, the others stand by."""

    def __init__(self, settings: Settings, metrics: ApplierMetrics) -> None:
        if settings.database_url is None:
            raise Invalid("setting database_url: missing; set DATABASE_URL to the registry's database")
        if settings.nats_url is None:
            raise Invalid("setting nats_url: missing; set NATS_URL to the NATS server")
        self._database_url = settings.database_url
        self._nats_url = settings.nats_url
        self._settings = settings
        self._profile = profile_of(settings)
        self._names = self._profile.commands
        self._metrics = metrics
        self._name = f"imi-registry applier {socket.gethostname()} {os.getpid()}"
        self.settled = asyncio.Event()
        """Set once this applier takes commands, or knows why it does not."""

    async def run(self) -> None:
        """Lead or stand by until cancelled; what waiting may heal is retried for ever.

        Raises the `RegistryError` that waiting cannot heal: a stream of another configuration.
        """
        retry = Backoff()
        while True:
            try:
                async with self._open() as (stream, dead_letters):
                    await self._stand_by(stream)
                    try:
                        await self._lead(stream, dead_letters)
                    finally:
                        await stream.resign()
            except (Unavailable, NotFound) as error:  # NotFound: whose stream it is has not created it yet
                self._metrics.became("starting")
                self._metrics.failed(error)
                self.settled.set()
                await retry.sleep("applier interrupted", error)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[tuple[CommandStream, DeadLetters]]:
        """The streams, on a connection that is not restored: what was delivered over it could be lost."""
        stream: CommandStream | None = None

        async def on_closed() -> None:
            if stream is not None:
                stream.abandon()

        async with connect_nats(self._nats_url, self._name, reconnect=False, on_closed=on_closed) as client:
            stream = CommandStream(client, self._profile, self._settings)
            await stream.open()
            dead_letters = DeadLetters(client, self._profile, self._settings)
            await dead_letters.open()
            yield stream, dead_letters

    async def _stand_by(self, stream: CommandStream) -> None:
        """Wait for the lead."""
        while not await stream.try_lead():
            if self._metrics.role != "standby":
                log.info("standing by", stream=stream.name)
                self._metrics.became("standby")
                self.settled.set()
            await asyncio.sleep(STANDBY_POLL_SECONDS)
        log.info("applying", stream=stream.name)

    async def _lead(self, stream: CommandStream, dead_letters: DeadLetters) -> None:
        """Carry out commands until the lead is lost."""
        lanes: Lanes[Work] = Lanes()
        self._metrics.became("leader")
        self.settled.set()
        workers = [self._work(stream, dead_letters, lanes) for _ in range(CONNECTIONS)]
        await run_until(asyncio.Event(), [stream.take(), self._sort(stream, dead_letters, lanes), *workers])

    async def _sort(self, stream: CommandStream, dead_letters: DeadLetters, lanes: Lanes[Work]) -> None:
        """Read what comes and put it in its lane, or among the dead letters."""
        while True:
            received = await stream.next()
            try:
                command = self._read(received)
                lanes.add(Job(Work(command, received), keys(command)))
            except Invalid as error:
                await self._bury(stream, dead_letters, received, str(error), attempts=1)

    def _read(self, received: Received) -> Command:
        name = self._names.name_of(received.subject)
        if name is None:
            raise Invalid(f"subject is not of the form {self._names.command_subject('<entity>.<verb>')}")
        return read(received.payload, name, self._profile.parse_command)

    async def _work(self, stream: CommandStream, dead_letters: DeadLetters, lanes: Lanes[Work]) -> None:
        """Carry out one command after the other on a connection made for the first, on a new one when it is lost."""
        while True:
            job = await lanes.next()
            try:
                async with ledger.connect(self._database_url, self._name) as conn:
                    await self._carry_out(conn, stream, dead_letters, lanes, job)
                    while not conn.closed:
                        await self._carry_out(conn, stream, dead_letters, lanes, await lanes.next())
            except ledger.NoConnection as error:
                if self._metrics.failed(error):  # one line, not one for each connection
                    log.warning("commands wait for the database", reason=str(error))
                lanes.again(job, RETRY_SECONDS[1])

    async def _carry_out(
        self,
        conn: ledger.Connection,
        stream: CommandStream,
        dead_letters: DeadLetters,
        lanes: Lanes[Work],
        job: Job[Work],
    ) -> None:
        try:
            outcome = await ledger.apply(conn, job.item.command)
        except ledger.IdTaken as error:
            # It can have no row in the ledger, so it is kept as a dead letter.
            command_id = job.item.command.id
            outcome = Outcome(command_id=command_id, verdict="rejected", code="CONFLICT", message=str(error))
            await self._answer(stream, job, outcome)
            await self._bury(stream, dead_letters, job.item.received, str(error), job.attempts + 1)
        except Unavailable as error:
            self._metrics.retried(None if isinstance(error, ledger.Busy) else error)
            job.attempts += isinstance(error, ledger.Busy) or conn.closed
            if job.attempts < MOST_ATTEMPTS:
                delay = min(RETRY_SECONDS[0] * 2**job.attempts, RETRY_SECONDS[1])
                lanes.again(job, delay)
                return
            await self._bury(stream, dead_letters, job.item.received, f"gave up: {error}", job.attempts)
        else:
            await self._answer(stream, job, outcome)
            await stream.acknowledge(job.item.received)
        lanes.done(job)

    async def _answer(self, stream: CommandStream, job: Job[Work], outcome: Outcome) -> None:
        """Send the outcome to the sender's inbox and to the reply subject.

        Where that subject is in a work queue, the answer would stay there until somebody takes it: only a sender who
        names no inbox will.
        """
        self._metrics.answered(job.item.command.name, outcome.verdict)
        payload = outcome.model_dump_json().encode()
        if job.item.command.reply_to is not None:
            await stream.answer(job.item.command.reply_to, payload)
        if job.item.command.reply_to is None or not self._profile.is_shared:
            await stream.answer(self._names.reply_subject(job.item.command.name, job.item.command.id), payload)

    async def _bury(
        self, stream: CommandStream, dead_letters: DeadLetters, received: Received, reason: str, attempts: int
    ) -> None:
        await dead_letters.bury(received, reason, attempts)
        await stream.terminate(received)
        self._metrics.buried()
        log.warning("dead letter", subject=received.subject, sequence=received.sequence, reason=reason)
