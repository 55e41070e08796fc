"""Events whose handler keeps failing: put aside as dead letters, and handled once more when somebody asks for it.

The order of what is done makes that nothing is lost. An event is acknowledged when NATS has its dead letter, a dead
letter is dropped when the handler has returned, a request when its letter is dropped or is stored anew. What ends in
between is done again. Failures are kept beside the letters until then: who reads next counts on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from nats.aio.client import Client

from registry.client.hand import Delivery, Held
from registry.concurrency.lanes import Job, Lanes
from registry.concurrency.outage import Outage, is_told
from registry.dead_letters.letter import DeadLetter, Failure, Redelivery, sendable
from registry.dead_letters.stream import LetterStream
from registry.errors import NotFound, RegistryError, Unavailable
from registry.log import log
from registry.profiles.profile import Profile

LOOK_SECONDS = 1.0
"""How often it is looked whether somebody asked for a redelivery."""
MOST_UNDER_WAY = 32
"""Dead letters that are in the lanes at once."""
MOST_FAILING = 1024
"""Events whose failures are counted at once; there are fewer in hand."""


class Again(NamedTuple):
    """A dead letter that is to be handled once more."""

    delivery: Delivery
    letter: DeadLetter
    request: Redelivery


Item = Held | Again


class Poison:
    """What one subscription does with events on which its handler fails `max_attempts` times."""

    def __init__(self, client: Client, profile: Profile, durable: str, max_attempts: int) -> None:
        self._profile = profile
        self._stream = LetterStream(client, profile.letters, durable)
        self._durable = durable
        self._max_attempts = max_attempts
        self._outage = Outage("dead letters", durable=durable)
        self._buried = self._redelivered = 0
        self._failures: dict[str, Failure] = {}
        """Of events in hand, by event id: they stay when a connection is lost and the events come again."""
        self._kept: dict[str, int] = {}
        """Of these, the number of the message that has them."""
        self._can_keep = True
        self._under_way: dict[str, Again] = {}
        self._begun: set[str] = set()
        """Of these, what the handler has in hand now."""
        self._to_drop: set[int] = set()
        """Messages that are done with."""

    async def open(self) -> None:
        """Make the stream where there is none. Raises `Conflict` for one of somebody else, `Unavailable`."""
        await self._stream.open()

    async def recall(self, done: int) -> None:
        """Learn what failed in the hands of who read before, of events behind sequence `done`. Raises `Unavailable`."""
        self._can_keep = True
        async for failing in self._stream.failing():
            if failing.sequence <= done:  # whoever was done with it could not say so
                self._to_drop.add(failing.number)
            elif failing.number not in self._to_drop:
                self._kept[failing.event_id] = failing.number
                self._failures.setdefault(failing.event_id, failing.failure)

    async def fails(self, item: Item, error: Exception) -> bool:
        """Note that the handler failed; True when it is not to be tried again.

        An `Unavailable` says that waiting helps, so it is not counted.
        """
        if isinstance(item, Again):
            self._begun.discard(item.letter.event_id)
        if isinstance(error, Unavailable):
            return False
        now = datetime.now(UTC)
        if isinstance(item, Again):
            before = item.letter.failure
        else:
            before = self._failures.pop(_event_id(self._profile, item), Failure("", 0, now, now))
        failure = Failure(f"{type(error).__name__}: {error}", before.attempts + 1, before.first_failed_at, now)
        self._failures[_event_id(self._profile, item)] = failure
        if len(self._failures) > MOST_FAILING:
            del self._failures[next(iter(self._failures))]
        if isinstance(item, Again) or failure.attempts >= self._max_attempts:
            return True
        await self._keep(item)
        return False

    async def _keep(self, item: Held) -> None:
        """Let who reads next know of the failures; where that cannot be done, no more is tried in this turn."""
        if not self._can_keep:
            return
        event_id = _event_id(self._profile, item)
        try:
            self._kept[event_id] = await self._stream.keep(self._letter(event_id, item))
        except RegistryError as error:
            self._can_keep = False
            self._outage.failed(error, sequence=item.delivery.sequence)

    def _forget(self, event_id: str) -> None:
        """Count no more: the event is handled, or a dead letter."""
        self._failures.pop(event_id, None)
        number = self._kept.pop(event_id, None)
        if number is not None:
            self._to_drop.add(number)

    async def bury(self, item: Item) -> bool:
        """Store an event as a dead letter, as it failed last; False when that cannot be done now, which is logged."""
        event_id = _event_id(self._profile, item)
        letter = self._letter(event_id, item)._replace(failure=self._failures[event_id])
        try:
            try:
                await self._stream.bury(letter)
            except Unavailable:
                await self._stream.open()  # somebody may have deleted it
                await self._stream.bury(letter)
        except RegistryError as error:
            self._outage.failed(error, sequence=letter.sequence)
            return False
        self._buried += 1
        if is_told(self._buried):
            log.warning(
                "event buried",
                durable=self._durable,
                sequence=letter.sequence,
                attempts=letter.failure.attempts,
                reason=letter.failure.reason,
                buried=self._buried,
                **item.delivery.ids,
            )
        self._forget(event_id)
        if isinstance(item, Again):
            await self._settle(item, {item.request.number})
        return True

    async def handled(self, item: Item) -> None:
        """Note that the handler returned; a dead letter is dropped."""
        if self._failures:
            self._forget(_event_id(self._profile, item))
        if isinstance(item, Again):
            self._redelivered += 1
            if is_told(self._redelivered):
                log.info(
                    "redelivered event handled",
                    durable=self._durable,
                    sequence=item.letter.sequence,
                    redelivered=self._redelivered,
                    **item.delivery.ids,
                )
            await self._settle(item, {item.letter.number, item.request.number})

    def begin(self, again: Again) -> bool:
        """Whether a dead letter is still to be handled here; then it is, from now on."""
        is_ours = self._under_way.get(again.letter.event_id) is again
        if is_ours:
            self._begun.add(again.letter.event_id)
        return is_ours

    async def watch(self, lanes: Lanes[Item]) -> None:
        """Put dead letters that are asked for in the lanes of their projects, until cancelled."""
        after = 0
        try:
            while True:
                try:
                    await self._drop()
                    after = await self._take(lanes, after)
                    self._outage.over()
                except NotFound:  # somebody deleted the stream
                    await self._stream.open()
                except Unavailable as error:
                    self._outage.failed(error)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            # what is not begun is left to whoever reads next
            self._under_way = {event_id: self._under_way[event_id] for event_id in self._begun}

    async def _take(self, lanes: Lanes[Item], after: int) -> int:
        """Take what was asked for behind request `after`; returns the last one that was taken, or is done with."""
        async for request in self._stream.redeliveries(after):
            if request.event_id in self._under_way or len(self._under_way) >= MOST_UNDER_WAY:
                return after
            if request.number not in self._to_drop:
                letter = await self._stream.of_event(request.event_id)
                if letter is None:  # dropped meanwhile
                    self._to_drop.add(request.number)
                else:
                    delivery = Delivery(letter.subject, letter.payload, letter.sequence, is_redelivered=True)
                    again = self._under_way[request.event_id] = Again(delivery, letter, request)
                    lanes.add(Job(again, again.delivery.keys))
            after = request.number
        return after

    async def _settle(self, again: Again, numbers: set[int]) -> None:
        """Drop messages now or later; what is asked for anew meanwhile has another number, and is handled anew."""
        self._to_drop |= numbers
        self._under_way.pop(again.letter.event_id, None)
        self._begun.discard(again.letter.event_id)
        try:
            await self._drop()
        except (Unavailable, NotFound) as error:
            self._outage.failed(error)

    async def _drop(self) -> None:
        """Drop what is done with, letters before what asked for them."""
        for number in sorted(self._to_drop):
            await self._stream.drop(number)
            self._to_drop.discard(number)

    def _letter(self, event_id: str, item: Item) -> DeadLetter:
        if isinstance(item, Again):
            return item.letter
        delivery, headers = item.delivery, sendable(item.message.headers or {})
        failure = self._failures[event_id]
        return DeadLetter(
            self._durable, 0, event_id, delivery.subject, delivery.sequence, failure, headers, delivery.payload
        )


def _event_id(profile: Profile, item: Item) -> str:
    if isinstance(item, Again):
        return item.letter.event_id
    headers: Mapping[str, str] = item.message.headers or {}
    return profile.identity(headers)[1] or ""
