"""A durable subscription: every event is handled, those of one project in order, across restarts and failures.

One process at a time handles the events of a durable name; a second one waits until the first is gone
(`registry/broker/durable.py`). An event whose handler fails is tried again here, with those of its project behind it:
given back to the server it would lose its place. With `max_attempts` one that fails so often becomes a dead letter, and
those behind it go on (`poison.py`). What was in hand when a process ended, or when a connection, a
delivery or an acknowledgement was lost, is delivered again, by a consumer that starts with the first event not
acknowledged: so an event may be handled twice, and order is kept. One that this process has handled is not handled
again by it.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from registry import tracing
from registry.broker.durable import FILTER, Durable, Turn
from registry.broker.errors import translated_nats
from registry.broker.permitted import refusal_of
from registry.broker.pull import LONGEST_SECONDS, SIZE, Pull, delivered_of
from registry.client.hand import Delivery, Hand, Handler, Held
from registry.client.poison import Again, Item, Poison
from registry.client.wanted import Wanted
from registry.concurrency.backoff import Backoff, doubled
from registry.concurrency.lanes import Job, Lanes
from registry.concurrency.outage import Outage
from registry.concurrency.tasks import end, retrieved, run_until
from registry.errors import NotFound, Unavailable, Unprepared
from registry.events.filter import EventFilter
from registry.log import log
from registry.profiles.profile import Profile

WINDOW = 256
"""Events in hand, at most."""
RETRY_SECONDS = (0.1, 30.0)
"""First and longest wait before a failed event is handled again."""
LOOK_SECONDS = 2.0
"""How often the server's count of deliveries and acknowledgements is compared with ours."""
LEAVING_SECONDS = 30.0
"""A handler that is cancelled has so long to end in order, until it is cancelled again."""


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
        max_attempts: int | None,
    ) -> None:
        self._client = client
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
            max_deliver=-1,
            max_ack_pending=WINDOW,
            metadata={FILTER: self._wanted.beyond_subject},
        )
        self._outage = Outage("subscription", durable=durable)
        self._failing = Outage("handler", durable=durable)
        self._failed_jobs: set[Job[Item]] = set()
        """Whose handler failed, until it returns or they are given up: while there are any, it does not go on."""
        self._durable = Durable(
            client, self._stream, durable, first, keeps_sequences=not profile.is_shared, outage=self._outage
        )
        self._hand = Hand()
        self._lanes: Lanes[Item] = Lanes()
        self._poison = None if max_attempts is None else Poison(client, profile, durable, max_attempts)
        self._acknowledgement = ""
        """Subject of the last one that was sent."""

    async def run(self) -> None:
        """Handle events until cancelled; lost connections, servers, consumers and streams are waited for.

        Raises `NotFound` when there is no event stream to begin with, `Conflict` when the durable name is in use for
        other events.
        """
        leaving = asyncio.Event()
        following = asyncio.create_task(run_until(asyncio.Event(), [self._follow()]))
        following.add_done_callback(retrieved)
        following.add_done_callback(lambda _: leaving.set())
        workers = [self._work(leaving) for _ in range(self._concurrency)]
        try:
            await run_until(leaving, workers, again_seconds=LEAVING_SECONDS)
        finally:  # until handlers have ended it is still the turn of this process: what they do comes before others
            await end([following])
        await following

    async def _follow(self) -> None:
        """Put what comes in hand, from a new place whenever something may have been lost."""
        retry = Backoff()
        while True:
            try:
                if self._poison is not None:
                    await self._poison.open()
                turn = await self._durable.take_over(self._hand.done, self._hand.generation)
                if self._poison is not None:
                    await self._poison.recall(turn.done)
                self._outage.over(consumer=turn.consumer, after=turn.done)
                await self._read(turn)
            except (Unavailable, NotFound) as error:
                if isinstance(error, NotFound) and not self._durable.has_seen_stream:
                    raise
                self._outage.failed(error)
                await retry.sleep()

    async def _read(self, turn: Turn) -> None:
        """Read one consumer. Raises `Unavailable` or `NotFound` when it gives no more, or something was lost."""
        self._hand.begin(turn)
        self._acknowledgement = ""  # whether the next one is refused, too, is to be seen
        pull = Pull(self._client, self._stream, turn.consumer, WINDOW, delivered=turn.delivered)
        reading = [pull.run(), self._sort(pull, turn), self._compare(pull, turn)]
        if self._poison is not None:
            reading.append(self._poison.watch(self._lanes))
        try:
            await run_until(asyncio.Event(), reading)
        finally:
            if pull.is_limited:
                self._durable.limited(turn)
            self._hand.let_go()  # what is not begun is left to whoever reads next

    async def _sort(self, pull: Pull, turn: Turn) -> None:
        """Put each event in the lane of its project, or of both; those of none share one."""
        while True:
            message = await pull.next()
            if message.metadata.num_delivered > 1:  # it stands behind what came after it
                raise Unavailable(
                    f"stream {self._stream} gave an event again: somebody else changed the consumer, or it was in hand "
                    "for 24 hours"
                )
            is_first = message.metadata.sequence.consumer == 1  # that of another consumer has this number, too
            if is_first or SIZE in (message.headers or {}):  # without its data, where the consumer was changed
                await self._durable.look(turn)
            delivery = Delivery(message.subject, message.data, message.metadata.sequence.stream)
            held = Held(delivery, message, turn.generation)
            if not self._hand.take(held):
                await self._acknowledge(message)
            elif self._wanted.has(message.headers, message.data):
                self._lanes.add(Job(held, delivery.keys))
            else:
                await self._done(held)

    async def _compare(self, pull: Pull, turn: Turn) -> None:
        """Raise `Unavailable` when the server made a delivery that did not come, or did not get an acknowledgement.

        It tells what it knows now; compared with what was sent before the last look, nothing is merely on its way.
        """
        delivered = acknowledged = 0
        while True:
            info = await self._durable.look(turn)
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
            delivered = delivered_of(info)
            acknowledged = self._hand.acknowledged
            await asyncio.sleep(LOOK_SECONDS)

    async def _work(self, leaving: asyncio.Event) -> None:
        while not leaving.is_set():  # a handler may have kept the cancellation to itself
            job = await self._lanes.next()
            if self._begin(job.item):
                await self._handle(job)
            else:
                self._end(job)

    def _begin(self, item: Item) -> bool:
        """Whether it is to be handled: it was not, and did not come again."""
        if isinstance(item, Again):
            return self._poison is not None and self._poison.begin(item)
        return self._hand.holds(item)

    async def _handle(self, job: Job[Item]) -> None:
        try:
            with self._traced(job.item.delivery) if tracing.is_on() else nullcontext():
                await self._call(job.item.delivery)
        except Exception as error:
            await self._failed(job, error)
        else:
            self._failed_jobs.discard(job)
            if not self._failed_jobs:
                self._failing.over()
            if self._poison is not None:
                await self._poison.handled(job.item)
            await self._finished(job)

    async def _call(self, delivery: Delivery) -> None:
        """Let the handler have an event. Raises what it raises; `RuntimeError` where others cancel what it awaits."""
        try:
            await self._handler(delivery)
        except asyncio.CancelledError as error:
            worker = asyncio.current_task()
            if worker is None or worker.cancelling():
                raise
            raise RuntimeError("the handler was cancelled from within") from error

    def _traced(self, delivery: Delivery) -> AbstractContextManager[str | None]:
        """A span around the handler, below what the event's writer said it belongs to."""
        attributes: dict[str, str | int] = {
            "messaging.system": "nats",
            "messaging.operation.type": "process",
            "messaging.destination.name": delivery.subject,
            "messaging.consumer.group.name": self._name,
            "imi.sequence": delivery.sequence,
        }
        return tracing.current(f"process {self._stream}", "consumer", delivery.traceparent, attributes)

    async def _failed(self, job: Job[Item], error: Exception) -> None:
        """Let the event be handled again after a while, unless it is put aside now."""
        delivery, said = job.item.delivery, f"{type(error).__name__}: {error}"
        delay = doubled(job.attempts, RETRY_SECONDS)
        job.attempts += 1
        self._failed_jobs.add(job)
        told = {"sequence": delivery.sequence, "error": said, "retry_seconds": delay} | delivery.ids
        self._failing.failed(error, is_bug=True, **told)
        if self._poison is not None and await self._poison.fails(job.item, error) and await self._poison.bury(job.item):
            await self._finished(job)
        else:
            self._lanes.again(job, delay)

    async def _finished(self, job: Job[Item]) -> None:
        if isinstance(job.item, Held):
            await self._done(job.item)
        self._end(job)

    def _end(self, job: Job[Item]) -> None:
        """Let those go on that wait for a job."""
        self._failed_jobs.discard(job)
        self._lanes.done(job)

    async def _done(self, held: Held) -> None:
        message = self._hand.handled(held)
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
