"""A durable subscription: every event is handled, those of one project in order, across restarts and failures.

One process at a time handles the events of a durable name; a second one waits until the first is gone
(`registry/broker/durable.py`). An event whose handler fails is tried again here, with those of its project behind it:
given back to the server it would lose its place. What was in hand when a process ended, or when a connection, a
delivery or an acknowledgement was lost, is delivered again, by a consumer that starts with the first event not
acknowledged: so an event may be handled twice, and order is kept. One that this process has handled is not handled
again by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from registry.broker.durable import Durable, Turn
from registry.broker.errors import translated_nats
from registry.broker.permitted import refusal_of
from registry.broker.pull import LONGEST_SECONDS, Pull
from registry.client.wanted import Wanted
from registry.concurrency.backoff import Backoff, doubled
from registry.concurrency.lanes import Job, Lanes
from registry.concurrency.outage import Outage
from registry.concurrency.tasks import run_until
from registry.errors import Invalid, NotFound, Unavailable, Unprepared
from registry.events import Event, parse
from registry.events.envelope import attributes_of
from registry.events.filter import EventFilter
from registry.profiles.profile import Profile
from registry.subjects import NO_PROJECT

log = structlog.get_logger()

WINDOW = 256
"""Events in hand, at most."""
RETRY_SECONDS = (0.1, 30.0)
"""First and longest wait before a failed event is handled again."""
LOOK_SECONDS = 2.0
"""How often the server's count of deliveries and acknowledgements is compared with ours."""


class Delivery(NamedTuple):
    """One event as it arrived: its subject, the bytes of its envelope, and its place in the stream."""

    subject: str
    payload: bytes
    sequence: int

    @property
    def event(self) -> Event:
        """The event in its newest model. Raises `Invalid` for one that this version of the package does not know."""
        return parse(self.payload)

    @property
    def project_id(self) -> str | None:
        """The project it is about, if any, and if it can be read."""
        try:
            project_id = attributes_of(self.payload).get("partitionkey")
        except Invalid:
            return None
        return project_id if isinstance(project_id, str) else None


Handler = Callable[[Delivery], Awaitable[None]]


class Held(NamedTuple):
    """An event in hand, and the message that acknowledges it."""

    delivery: Delivery
    message: Msg


class Hand:
    """What of the stream is in hand, and what is handled."""

    def __init__(self) -> None:
        self.done = 0
        """Sequence up to which every event is handled."""
        self._last = 0
        self._last_delivery = 0
        self._held: dict[int, Held] = {}
        self._handled: set[int] = set()

    def begin(self, done: int, delivered: int = 0) -> None:
        """Take what is behind sequence `done`, in order, from a consumer that made `delivered` deliveries before.

        What was in hand comes again.
        """
        if done < self.done:  # another stream
            self._handled.clear()
        self._held.clear()
        self.done = done
        self._last = done
        self._last_delivery = delivered
        self._handled = {sequence for sequence in self._handled if sequence > done}

    def take(self, held: Held) -> bool:
        """Take a delivery; False when its event is handled already."""
        sequence = held.delivery.sequence
        self._last = max(self._last, sequence)
        self._last_delivery = held.message.metadata.sequence.consumer
        if sequence <= self.done or sequence in self._handled:
            self._settle()
            return False
        self._held[sequence] = held
        return True

    def holds(self, held: Held) -> bool:
        """Whether this delivery is the one to handle: not handled, and not delivered again."""
        return self._held.get(held.delivery.sequence) is held

    def handled(self, sequence: int) -> Msg | None:
        """Note that an event is handled; returns the message to acknowledge, None when it is still to come again."""
        if sequence > self.done:
            self._handled.add(sequence)
        held = self._held.pop(sequence, None)
        self._settle()
        return held.message if held else None

    @property
    def acknowledged(self) -> int:
        """Consumer sequence of the delivery up to which all that were taken are acknowledged."""
        for held in self._held.values():  # the lowest, if there is one
            return held.message.metadata.sequence.consumer - 1
        return self._last_delivery

    def _settle(self) -> None:
        lowest = next(iter(self._held), self._last + 1)
        if lowest - 1 > self.done:
            self.done = lowest - 1
            self._handled = {sequence for sequence in self._handled if sequence > self.done}


class Subscriber:
    """Handles the events of one durable name until cancelled."""

    def __init__(
        self,
        client: Client,
        profile: Profile,
        handler: Handler,
        wanted: EventFilter,
        *,
        durable: str,
        concurrency: int,
        from_start: bool,
    ) -> None:
        self._client = client
        self._js = client.jetstream()
        self._stream = profile.event_stream
        self._wanted = Wanted(profile, wanted)
        self._handler = handler
        self._name = durable
        self._concurrency = concurrency
        first = ConsumerConfig(
            filter_subject=self._wanted.subject,
            deliver_policy=DeliverPolicy.ALL if from_start else DeliverPolicy.NEW,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=LONGEST_SECONDS,
            max_ack_pending=WINDOW,
        )
        self._outage = Outage("subscription", durable=durable)
        self._failing = Outage("handler", durable=durable)
        self._durable = Durable(
            client, self._stream, durable, first, keeps_sequences=not profile.is_shared, outage=self._outage
        )
        self._hand = Hand()
        self._lanes: Lanes[Held] = Lanes()
        self._acknowledgement = ""
        """Subject of the last one that was sent."""

    async def run(self) -> None:
        """Handle events until cancelled; lost connections, servers, consumers and streams are waited for.

        Raises `NotFound` when there is no event stream to begin with, `Conflict` when the durable name is in use for
        other events.
        """
        await run_until(asyncio.Event(), [self._follow(), *(self._work() for _ in range(self._concurrency))])

    async def _follow(self) -> None:
        """Put what comes in hand, from a new place whenever something may have been lost."""
        retry = Backoff()
        turn: Turn | None = None
        while True:
            try:
                turn = await self._durable.take_over(self._hand.done)
                self._outage.over(consumer=turn.consumer, after=turn.done)
                await self._read(turn)
            except (Unavailable, NotFound) as error:
                if isinstance(error, NotFound) and turn is None:
                    raise
                self._outage.failed(error)
                await retry.sleep()

    async def _read(self, turn: Turn) -> None:
        """Read one consumer. Raises `Unavailable` or `NotFound` when it gives no more, or something was lost."""
        self._hand.begin(turn.done, turn.delivered)
        pull = Pull(self._client, self._stream, turn.consumer, WINDOW, delivered=turn.delivered)
        try:
            await run_until(asyncio.Event(), [pull.run(), self._sort(pull), self._compare(pull, turn.consumer)])
        finally:
            self._hand.begin(self._hand.done)  # what is not begun is left to whoever reads next

    async def _sort(self, pull: Pull) -> None:
        """Put each event in the lane of its project; those of none share one."""
        while True:
            message = await pull.next()
            held = Held(Delivery(message.subject, message.data, message.metadata.sequence.stream), message)
            if not self._hand.take(held):
                await self._acknowledge(message)
            elif self._wanted.has(message.headers, message.data):
                self._lanes.add(Job(held, {held.delivery.project_id or NO_PROJECT}))
            else:
                await self._done(held)

    async def _compare(self, pull: Pull, consumer: str) -> None:
        """Raise `Unavailable` when the server made a delivery that did not come, or did not get an acknowledgement.

        It tells what it knows now; compared with what was sent before the last look, nothing is merely on its way.
        """
        delivered = acknowledged = 0
        while True:
            with translated_nats(f"cannot look at consumer {consumer} of stream {self._stream}"):
                info = await self._js.consumer_info(self._stream, consumer)
            floor = info.ack_floor.consumer_seq if info.ack_floor else 0
            if pull.delivered < delivered:
                raise Unavailable(f"a delivery of stream {self._stream} was lost, {pull.delivered + 1} of {delivered}")
            refusal = refusal_of(self._client, self._acknowledgement)
            if refusal is not None:
                raise Unprepared(f"cannot acknowledge an event of stream {self._stream}: {refusal}")
            if floor < acknowledged:
                raise Unavailable(
                    f"acknowledgements to stream {self._stream} were lost: it has {floor} of {acknowledged}"
                )
            delivered = info.delivered.consumer_seq if info.delivered else 0
            acknowledged = self._hand.acknowledged
            await asyncio.sleep(LOOK_SECONDS)

    async def _work(self) -> None:
        while True:
            job = await self._lanes.next()
            if self._hand.holds(job.item):
                await self._handle(job)
            else:
                self._lanes.done(job)

    async def _handle(self, job: Job[Held]) -> None:
        delivery = job.item.delivery
        try:
            await self._handler(delivery)
        except Exception as error:
            delay = doubled(job.attempts, RETRY_SECONDS)
            job.attempts += 1
            said = f"{type(error).__name__}: {error}"
            self._failing.failed(error, is_bug=True, sequence=delivery.sequence, error=said, retry_seconds=delay)
            self._lanes.again(job, delay)
        else:
            self._failing.over()
            await self._done(job.item)
            self._lanes.done(job)

    async def _done(self, held: Held) -> None:
        message = self._hand.handled(held.delivery.sequence)
        if message is not None:
            await self._acknowledge(message)

    async def _acknowledge(self, message: Msg) -> None:
        """Tell the server; an acknowledgement that does not arrive is noticed by `_compare`, or with the connection."""
        try:
            with translated_nats(f"cannot acknowledge an event of stream {self._stream}"):
                self._acknowledgement = message.reply
                await message.ack()
        except Unavailable as error:
            log.debug("acknowledgement not sent", durable=self._name, reason=str(error))
