"""A durable subscription: every event is handled, those of one project in order, across restarts and failures.

One process at a time handles the events of a durable name; a second one waits until the first is gone. An event whose
handler fails is tried again here, with those of its project behind it: given back to the server it would lose its
place. What was in hand when a process ended is delivered again, by a consumer that starts with the first event not
acknowledged: so an event may be handled twice, and order is kept.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

import orjson
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy

from registry.broker.connection import no_stream, translated_nats
from registry.broker.pull import GONE_SECONDS, LONGEST_SECONDS, Pull
from registry.client.wanted import Wanted
from registry.concurrency.backoff import Backoff, doubled
from registry.concurrency.lanes import Job, Lanes
from registry.errors import Conflict, NotFound, Unavailable
from registry.events import Event, parse
from registry.events.filter import EventFilter
from registry.profiles.profile import Profile
from registry.subjects import NO_PROJECT

log = structlog.get_logger()

WINDOW = 256
"""Events in hand, at most."""
RETRY_SECONDS = (0.1, 30.0)
"""First and longest wait before a failed event is handled again."""
POLL_SECONDS = 0.5


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
        """The project it is about, if any."""
        project_id: str | None = orjson.loads(self.payload).get("partitionkey")
        return project_id


Handler = Callable[[Delivery], Awaitable[None]]


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
        self._durable = durable
        self._concurrency = concurrency
        self._config = ConsumerConfig(
            filter_subject=self._wanted.subject,
            deliver_policy=DeliverPolicy.ALL if from_start else DeliverPolicy.NEW,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=LONGEST_SECONDS,
            max_ack_pending=WINDOW,
        )

    async def run(self) -> None:
        """Handle events until cancelled; lost connections are waited for.

        Raises `NotFound` when there is no event stream, `Conflict` when the durable name is in use for other events.
        """
        retry = Backoff()
        while True:
            try:
                await self._handle(await self._take_over())
            except Unavailable as error:
                await retry.sleep("subscription interrupted", error, durable=self._durable)

    async def _take_over(self) -> str:
        """The consumer to read, once nobody else does.

        The consumer of a process that ended with events in hand is followed by the next one of its name, which
        starts where that one's acknowledgements end; it is there before the older one goes.
        """
        gone_for = 0.0
        while True:
            try:
                with translated_nats(f"cannot subscribe to stream {self._stream}"):
                    found = await self._generations()
                    if not found:
                        return await self._create(1, self._config)
                    number, newest = found[-1]
                    gone_for = 0.0 if newest.num_waiting else gone_for + POLL_SECONDS
                    if gone_for > GONE_SECONDS:
                        return await self._succeed(number, newest)
            except NotFound as error:
                raise no_stream(self._stream) from error
            await asyncio.sleep(POLL_SECONDS)

    async def _generations(self) -> list[tuple[int, ConsumerInfo]]:
        """The consumers of this durable name, oldest first; all but the newest are deleted."""
        found: list[ConsumerInfo] = []
        while page := await self._js.consumers_info(self._stream, offset=len(found)):
            found += page
        name = re.compile(re.escape(self._durable) + r"-(\d+)")
        ours = sorted((int(match[1]), info) for info in found if (match := name.fullmatch(info.name)))
        for _, info in ours[:-1]:
            await self._js.delete_consumer(self._stream, info.name)
        for _, info in ours[-1:]:
            if info.config.filter_subject != self._config.filter_subject:
                raise Conflict(
                    f'durable "{self._durable}" is a subscription to {info.config.filter_subject}, not to '
                    f"{self._config.filter_subject}; choose another name"
                )
        return ours

    async def _succeed(self, number: int, newest: ConsumerInfo) -> str:
        if not newest.num_ack_pending:
            return newest.name
        floor = newest.ack_floor.stream_seq if newest.ack_floor else 0
        start = replace(self._config, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=floor + 1)
        return await self._create(number + 1, start)

    async def _create(self, number: int, config: ConsumerConfig) -> str:
        name = f"{self._durable}-{number}"
        await self._js.add_consumer(self._stream, replace(config, name=name, durable_name=name))
        return name

    async def _handle(self, consumer: str) -> None:
        pull = Pull(self._client, self._stream, consumer, WINDOW)
        lanes: Lanes[tuple[Delivery, Msg]] = Lanes()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(pull.run())
                tasks.create_task(self._sort(pull, lanes))
                for _ in range(self._concurrency):
                    tasks.create_task(self._work(lanes))
        except* Unavailable as errors:
            raise Unavailable(str(errors.exceptions[0])) from None

    async def _sort(self, pull: Pull, lanes: Lanes[tuple[Delivery, Msg]]) -> None:
        """Put each event in the lane of its project; those of none share one."""
        while True:
            message = await pull.next()
            if not self._wanted.has(message.headers, message.data):
                await self._acknowledge(message)
                continue
            delivery = Delivery(message.subject, message.data, message.metadata.sequence.stream)
            lanes.add(Job((delivery, message), {delivery.project_id or NO_PROJECT}))

    async def _work(self, lanes: Lanes[tuple[Delivery, Msg]]) -> None:
        while True:
            job = await lanes.next()
            delivery, message = job.item
            try:
                await self._handler(delivery)
            except Exception:
                delay = doubled(job.attempts, RETRY_SECONDS)
                job.attempts += 1
                log.warning("handler failed", durable=self._durable, sequence=delivery.sequence, retry_seconds=delay)
                lanes.again(job, delay)
                continue
            await self._acknowledge(message)
            lanes.done(job)

    async def _acknowledge(self, message: Msg) -> None:
        with translated_nats(f"cannot acknowledge an event of stream {self._stream}"):
            await message.ack()
