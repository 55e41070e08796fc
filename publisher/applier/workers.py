"""The applier's workers: what comes from the command stream is carried out, answered and acknowledged.

Commands that share a key are carried out one after the other (`registry/concurrency/lanes.py`). Those that wait for no
other go together, many in one transaction, which takes half as much of the database's time as one transaction each. It
changes nothing when any of them meets a fault; then each is carried out alone, and alone again until it succeeds: given
back to the server it would lose its place.
Why: docs/adr/0005-commands.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from uuid import UUID

from publisher.applier import ledger
from publisher.applier.actors import Actors
from publisher.applier.command_stream import CommandStream, Received, Said
from publisher.applier.dead_letters import DeadLetters
from publisher.applier.keys import keys
from publisher.applier.metrics import ApplierMetrics
from publisher.applier.work import Work, ids, traced
from registry import tracing
from registry.broker.answers import outcome_code
from registry.commands import Outcome
from registry.commands.envelope import NO_ID
from registry.commands.reading import Command, read, reply_address
from registry.concurrency.backoff import doubled
from registry.concurrency.fair import FairQueue
from registry.concurrency.lanes import Job, Lanes
from registry.concurrency.outage import is_told
from registry.concurrency.room import Room
from registry.concurrency.tasks import run_until
from registry.errors import Invalid, RegistryError, Unavailable
from registry.log import log
from registry.profiles.profile import Profile

TOGETHER, ALONE = 3, 12
"""Connections for transactions of many commands, and for those of one."""
MOST_TOGETHER = 24
"""Commands in one transaction."""
MOST_VALUES_IN_HAND = 1_000_000
"""Of all commands that are read and not done, as all are while the database is away; each takes 100 bytes of memory."""
SMALL_BYTES = 64 * 1024
"""A larger command goes alone, so that a transaction's commands are never much in memory."""
SHORT_LOCK_SECONDS, LONG_LOCK_SECONDS = 0.1, 10.0
"""How long a transaction of many commands, and one of a single command, waits for a lock.

Many hold many locks: they give way long before PostgreSQL looks for a deadlock (1 s), so that no other writer is ended
for their sake.
"""
RETRY_SECONDS = (0.05, 2.0)
"""First and longest wait before a command is tried again."""
MOST_ATTEMPTS = 20
"""A command that the database fails on its own account so often is a dead letter."""


Jobs = Sequence[Job[Work]]


class Workers:
    """Carry out the commands of one stream on one database, for as long as one applier leads."""

    def __init__(
        self,
        database_url: str,
        name: str,
        stream: CommandStream,
        dead_letters: DeadLetters,
        profile: Profile,
        metrics: ApplierMetrics,
        actors: Actors,
        attempts: dict[UUID, int],
    ) -> None:
        """`attempts` of commands that failed on their own account are the applier's, and outlive the lead."""
        self._database_url = database_url
        self._name = name
        self._stream = stream
        self._dead_letters = dead_letters
        self._profile = profile
        self._names = profile.commands
        self._metrics = metrics
        self._actors = actors
        self._attempts = attempts
        self._in_hand = 0
        self._unread: asyncio.Queue[Received] = asyncio.Queue()
        self._room = Room(MOST_VALUES_IN_HAND)
        self._waits_since: float | None = None
        self._lanes: Lanes[Work] = Lanes()
        self._alone: FairQueue[Job[Work]] = FairQueue()
        self._looking = asyncio.Lock()

    def waits_since(self) -> float | None:
        """Since when (`monotonic`) commands are in hand and none was done; None when there are none."""
        return self._waits_since

    async def run(self) -> None:
        """Work until cancelled. Raises `Unavailable` when the stream gives no more commands."""
        together = [self._work(self._take_many, self._together, SHORT_LOCK_SECONDS) for _ in range(TOGETHER)]
        alone = [self._work(self._take_one, self._each, LONG_LOCK_SECONDS) for _ in range(ALONE)]
        reading = [self._stream.take(), self._stream.compare(), self._receive(), self._sort()]
        await run_until(asyncio.Event(), [*reading, *together, *alone])

    async def _receive(self) -> None:
        """Take what comes, and hear at once that no more does."""
        while True:
            self._unread.put_nowait(await self._stream.next())

    async def _sort(self) -> None:
        """Read what comes and put it in its lane, or among the dead letters."""
        while True:
            received = await self._unread.get()
            await self._room.wait()
            try:
                command = self._read(received)
                work = traced(Work(command, received)) if tracing.is_on() else Work(command, received)
                job = Job(work, keys(command), command.sender or command.source)
                job.attempts = self._attempts.get(command.id, 0)
                self._lanes.add(job)
                self._in_hand += 1
                self._room.enter(work.values)
                self._waits_since = self._waits_since or monotonic()
            except Invalid as error:
                await self._refuse(received, error)

    def _read(self, received: Received) -> Command:
        name = self._names.name_of(received.subject)
        if name is None:
            raise Invalid(f"subject is not of the form {self._names.command_subject('<entity>.<verb>')}")
        command = read(received.payload, name, self._profile.parse_command)
        return self._actors.bind(command._replace(sender=self._names.sender_of(received.subject) or ""))

    async def _refuse(self, received: Received, error: Invalid) -> None:
        """Answer a message that is no command, where it says to whom, and keep it as a dead letter."""
        reply_to = reply_address(received.payload)
        if reply_to is not None:
            code = outcome_code(error)
            outcome = Outcome(command_id=NO_ID, verdict="rejected", code=code, message=str(error))
            await self._stream.publish([(reply_to, outcome.model_dump_json().encode())])
        await self._bury(received, str(error), attempts=1)

    async def _work(
        self,
        take: Callable[[], Awaitable[Jobs]],
        carry_out: Callable[[ledger.Connection, Jobs], Awaitable[None]],
        lock_seconds: float,
    ) -> None:
        """Carry out what `take` gives on a connection made for the first, on a new one when it is lost."""
        while True:
            jobs = await take()
            try:
                async with ledger.connect(self._database_url, self._name, lock_seconds) as conn:
                    await carry_out(conn, jobs)
                    while not conn.closed:
                        await carry_out(conn, await take())
            except ledger.NoConnection as error:
                self._metrics.failed(error, "commands wait for the database")
                for job in jobs:
                    self._again(job, RETRY_SECONDS[1])

    async def _take_many(self) -> Jobs:
        jobs: list[Job[Work]] = []
        while not jobs:
            for job in await self._lanes.next_few(MOST_TOGETHER):
                if len(job.item.received.payload) <= SMALL_BYTES:
                    jobs.append(job)
                else:
                    self._alone.put(job, job.sender)
        return jobs

    async def _take_one(self) -> Jobs:
        return [await self._alone.get()]

    async def _together(self, conn: ledger.Connection, jobs: Jobs) -> None:
        """Carry out all of `jobs`, or have each carried out alone."""
        try:
            outcomes = await ledger.apply(conn, [job.item.command for job in jobs])
        except RegistryError:
            for job in jobs:
                self._metrics.retried(job.item.command.id, job.item.command.name, None)
                self._alone.put(job, job.sender)
        else:
            await self._done(jobs, outcomes)

    async def _each(self, conn: ledger.Connection, jobs: Jobs) -> None:
        """Carry out the one of `jobs`; when it meets a fault that may pass, later again."""
        (job,) = jobs
        try:
            outcome = await ledger.apply_alone(conn, self._database_url, job.item.command, self._looking)
        except ledger.IdTaken as error:
            # It can have no row in the ledger, so it is kept as a dead letter.
            command_id = job.item.command.id
            code = outcome_code(error)
            outcome = Outcome(command_id=command_id, verdict="rejected", code=code, message=str(error))
            await self._stream.publish(self._answers(job, outcome))
            await self._bury(job.item.received, str(error), job.attempts + 1, **ids(job.item.command))
            self._metrics.settled(command_id)
            self._end(job, "rejected", str(error))
        except RegistryError as error:
            await self._retry(job, error, is_its_own=_is_its_own(error) or conn.closed)
        else:
            await self._done(jobs, [outcome])

    async def _retry(self, job: Job[Work], error: RegistryError, *, is_its_own: bool) -> None:
        """Have a job carried out again, however often; a fault that may be the command's own, so often and no more."""
        command = job.item.command
        self._metrics.retried(command.id, command.name, None if _is_its_own(error) else error)
        job.tries += 1
        if is_its_own:
            job.attempts += 1
            self._attempts[command.id] = job.attempts
        if job.attempts < MOST_ATTEMPTS:
            self._again(job, doubled(job.tries - 1, RETRY_SECONDS))
            return
        await self._bury(job.item.received, f"gave up: {error}", job.attempts, **ids(command))
        self._metrics.settled(command.id)
        self._end(job, "dead letter", str(error))

    def _again(self, job: Job[Work], delay_seconds: float) -> None:
        """Have a job carried out alone after a while; those behind it go on waiting."""
        asyncio.get_running_loop().call_later(delay_seconds, self._alone.put, job, job.sender)

    async def _done(self, jobs: Jobs, outcomes: Sequence[Outcome]) -> None:
        """Answer jobs that are carried out, and acknowledge each behind its answer."""
        said: list[Said] = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._metrics.settled(job.item.command.id)
            said += [*self._answers(job, outcome), job.item.received.acknowledgement]
        await self._stream.publish(said)
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._end(job, outcome.verdict, outcome.message if outcome.code else None)

    def _end(self, job: Job[Work], verdict: str, error: str | None) -> None:
        """Let those go on that wait for a job."""
        self._attempts.pop(job.item.command.id, None)
        if job.item.span is not None:
            job.item.span.end({"imi.verdict": verdict}, error)
        self._lanes.done(job)
        self._in_hand -= 1
        self._room.leave(job.item.values)
        self._waits_since = monotonic() if self._in_hand else None

    def _answers(self, job: Job[Work], outcome: Outcome) -> list[Said]:
        """Count an outcome; returns it for the sender's inbox, and for the reply subject.

        Where that subject is in a work queue, the answer would stay there until somebody takes it: only a sender who
        names no inbox will.
        """
        command = job.item.command
        self._metrics.answered(command.name, outcome.verdict, job.item.received.stored_at)
        said: list[Said] = []
        if command.reply_to is not None:
            said.append((command.reply_to, outcome.model_dump_json().encode()))
        if command.reply_to is None or not self._profile.is_shared:
            subject = self._names.reply_subject(command.name, command.id)
            said.append((subject, self._profile.reply(command, outcome)))
        return said

    async def _bury(self, received: Received, reason: str, attempts: int, **ids: str) -> None:
        """Keep a message as a dead letter; `ids` are those of the command in it, if it is one."""
        await self._dead_letters.bury(received, reason, attempts)
        await self._stream.terminate(received)
        self._metrics.buried()
        if is_told(self._metrics.dead_letters):
            said = {"subject": received.subject, "sequence": received.sequence, "buried": self._metrics.dead_letters}
            log.warning("dead letter", reason=reason, **said, **ids)


def _is_its_own(error: RegistryError) -> bool:
    """Whether `error` tells of the command, or of its neighbours, and not of the server or of somebody else there."""
    if isinstance(error, ledger.Busy):
        return not isinstance(error, ledger.Locked)
    return not isinstance(error, Unavailable)
