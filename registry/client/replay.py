"""Replay: the events from any place of the history on, whether the stream still holds them or only the outbox does.

The stream is read in order (`broker/ordered.py`). Wherever it does not continue directly behind what was read and has
lost its head there, the hole is filled from the publisher's record (`client/history.py`): at the start of a replay that
begins before the stream does, and in the middle of one that the stream's limits have overtaken. So there is no moment
of switching, neither from the record to the stream nor to live events. Why this is right: docs/adr/0006-history.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from nats.aio.client import Client

from registry.broker.ordered import OrderedReader, Stored, ordered_reader
from registry.client.history import HistoryPages, ask
from registry.client.tail import before_last
from registry.errors import Invalid, Unusable
from registry.events.filter import EventFilter
from registry.history.pages import HistoryLost, Replayed, origin_subject
from registry.position import After, FromSequence, FromStart, Last, Position, Since, Start, check_start
from registry.profiles.profile import Profile
from registry.validation import in_utc

PATIENCE_SECONDS = 20.0
"""A replay that ends by itself gives up when the server is away for so long; one that follows never does."""
CLOCK_SKEW = timedelta(minutes=1)
"""How far the clocks of PostgreSQL and NATS may differ."""
BACK = 8
"""How many times as many are counted where too few of those counted were events of this registry."""
FIRST_STORED, LAST_STORED = datetime(1970, 1, 2, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
"""NATS counts nanoseconds since 1970 in 64 bits, so it cannot start at a time far outside."""


Passed = Callable[[int], Awaitable[None]]
"""Is told each sequence up to which a replay has given out whatever was to be given out."""
CaughtUp = Callable[[], Awaitable[None]]
"""Is called when all that the stream has now was given out; again after more came."""


async def _nobody(_: int) -> None:
    """Of a replay whose reader needs nothing but the events."""


async def _no_matter() -> None:
    """Of a replay whose reader does not want to know whether he has caught up."""


class Replay:
    """One pass over the history. Open it with `replay`."""

    def __init__(
        self,
        client: Client,
        profile: Profile,
        reader: OrderedReader,
        wanted: EventFilter,
        until_sequence: int | None,
        passed: Passed,
        caught_up: CaughtUp,
    ) -> None:
        self._client = client
        self._profile = profile
        self._reader = reader
        self._filter = wanted
        self._needs_payload = not wanted.is_decided_by_subject(is_shared=profile.is_shared)
        self._until_sequence = until_sequence
        self._passed = passed
        self._caught_up = caught_up
        self._is_strict = False
        self._to_skip = 0
        self._position = Position(0)
        self._began = 0
        """Sequence behind which the last ones are looked for; 0 where that is with everything there is."""
        self.checked = 0
        """Sequence up to which everything is given out, or does not match."""
        self._given = 0  # sequence up to which the record gave out what this reader's replica did not have

    async def start(self, start: Start, *, follow: bool) -> None:
        """Go to the start. Raises `NotFound`, `Conflict`, `Unavailable`, `Invalid`."""
        _, last = await self._reader.state()
        if not follow:
            self._reader.end = last if self._until_sequence is None else min(last, self._until_sequence)
        match start:
            case Since(time):
                return await self._start_since(time)
            case After(position):
                self._position = position if isinstance(position, Position) else Position.parse(position)
                self._is_strict = True
                self._to_skip = sum(high - low for low, high in self._position.included)
            case FromSequence(sequence) if sequence > last + 1:
                raise Unusable(f"sequence {sequence} is beyond the end of the stream, {last}")
            case FromSequence(sequence):
                self._position = Position(sequence - 1)
            case Last(count):
                self._position = Position(await self._before_last(count))
        # A position out of the record does not tell where in the shared stream to go on: the first event there tells.
        await self._reader.start(0 if self._position.is_recorded else self._position.sequence)
        self.checked = self._position.sequence
        return None

    async def go_on(self) -> None:
        """Behind the end, follow."""
        self._reader.end = None
        await self._reader.patiently(lambda: self._reader.start(self.checked))

    async def events(self) -> AsyncGenerator[Replayed, None]:
        """The events, in the order in which they were published; ends when caught up, unless it follows.

        Raises `HistoryLost` when a part is gone after the position of a previous replay or snapshot.
        """
        while True:
            messages = await self._reader.next()
            if self._reader.end is not None:
                messages = [message for message in messages if message.sequence <= self._reader.end]
            if not messages:
                async for event in self._rest():
                    yield event
                if self._reader.end is not None:
                    return
                await self._caught_up()
                continue
            first = 0
            if messages[-1].sequence - self.checked != len(messages) or self._position.is_recorded:
                first, _ = await self._reader.patiently(self._reader.state)
            for message in messages:
                place = self._place(message)
                if place is None or message.sequence <= self._given:
                    continue  # of somebody else, or given out from the record while a replica was behind
                if first > self.checked + 1 or self._position.is_recorded:
                    async for event in self._recorded(place):
                        yield event
                self.checked = message.sequence
                wanted = self._wanted(message.subject, message.payload, place)
                if wanted is not None:
                    yield wanted
            self.checked = messages[-1].sequence
            await self._passed(self.checked)
            if self.checked == self._reader.end:
                return

    async def _rest(self) -> AsyncIterator[Replayed]:
        """What was trimmed off the stream between the last message that it gave and its present end."""
        first, last = await self._reader.patiently(self._reader.state)
        last = last if self._reader.end is None else self._reader.end
        if last > self.checked and (first > self.checked + 1 or self._position.is_recorded):
            async for event in self._recorded(Position(last + 1)):
                yield event
            self._given = self.checked
        self.checked = max(self.checked, self._reader.reached if self._reader.end is None else last)

    async def _recorded(self, before: Position) -> AsyncIterator[Replayed]:
        """What was published between the last event given out and `before`, from the record."""
        after, is_strict = self._position, self._is_strict
        if not after.is_recorded and after.sequence < self.checked:
            after = Position(self.checked)
        pages = HistoryPages(self._client, self._profile, after, before, self._filter)
        while (page := await self._reader.patiently(pages.next)) is not None:
            if is_strict and page.lost_before > after.sequence:
                raise HistoryLost(
                    f"the events behind sequence {after.sequence}, up to {page.lost_before}, are no longer kept: "
                    "start again from a snapshot"
                )
            is_strict = False
            for event in page.events:
                self.checked = event.position.sequence
                wanted = self._wanted(event.subject, event.payload, event.position)
                if wanted is not None:
                    yield wanted
        self._position = self._position._replace(is_recorded=False)

    def _place(self, message: Stored) -> Position | None:
        """Where an event of this registry stands; None for a message of anybody else."""
        outbox_id, _ = self._profile.identity(message.headers)
        return None if outbox_id is None else Position(message.sequence, outbox_id)

    def _wanted(self, subject: str, payload: bytes, place: Position) -> Replayed | None:
        """The event, if it is wanted and not in the snapshot this replay started from."""
        included = self._position.included
        if included:
            place = place._replace(included=included)
        self._position = place
        if included and _is_in(place.outbox_id, included):
            self._to_skip -= 1
            if self._to_skip == 0:
                self._position = place._replace(included=())
            return None
        if self._needs_payload and not self._filter.matches(payload):
            return None
        return Replayed(subject, payload, self._position)

    async def _start_since(self, time: datetime) -> None:
        """An event is published after it occurred, so what occurred since then was published since then."""
        published = min(max(in_utc(time), FIRST_STORED), LAST_STORED) - CLOCK_SKEW
        await self._reader.start(published)
        self._position = Position(self._reader.position)
        first, _ = await self._reader.state()
        if self._reader.position + 1 <= first and first > 1:
            origin = await ask(self._client, origin_subject(self._profile), published.isoformat().encode())
            self._position = Position.parse(origin.decode(errors="replace"))
        self.checked = self._position.sequence

    async def further_back(self, count: int) -> bool:
        """Go to where at least `count` events match by their subjects; False when everything was given out already."""
        if self._began == 0:
            return False
        self._position = Position(await self._before_last(count))
        await self._reader.start(self._position.sequence)
        self.checked, self._given = self._position.sequence, 0
        return True

    async def _before_last(self, count: int) -> int:
        """Behind where `count` events match by their subjects, else 0. Moves the end, unless one was asked for."""
        self._began = 0 if self._needs_payload else await before_last(self._reader, count, self._asked_end)
        if self._began and self._asked_end is None:
            _, self._reader.end = await self._reader.state()
        return self._began

    @property
    def _asked_end(self) -> int | None:
        return None if self._until_sequence is None else self._reader.end


@asynccontextmanager
async def replay(
    client: Client,
    profile: Profile,
    start: Start | None = None,
    *,
    follow: bool = False,
    until: datetime | int | None = None,
    passed: Passed = _nobody,
    caught_up: CaughtUp = _no_matter,
    **wanted: Any,
) -> AsyncIterator[AsyncIterator[Replayed]]:
    """The events from `start` on (default: the first), in the order in which they were published, each once.

    `wanted` are fields of `EventFilter`. Ends when caught up with what was published when it began; with `follow` goes
    on into live events and outlasts restarts of the servers. `until` is a sequence (the last one given out) or a time
    (events that occurred before it) and cannot be combined with `follow`. `passed` is told how far it is, also where
    the stream holds what is not given out: of somebody else, or of the snapshot that the replay starts from.
    `caught_up` is told whenever there is no more now, by a replay that follows.

    Raises `Invalid`, `NotFound` when there is no stream, `Conflict` when the stream is not the one a position is of,
    `HistoryLost`, `Unavailable`.
    """
    start = FromStart() if start is None else start
    check_start(start)
    if follow and until is not None:
        raise Invalid("a replay either follows or has an end: give follow or until, not both")
    if isinstance(until, int) and until < 1:
        raise Invalid(f"until sequence {until} is not 1 or more")
    since = start.time if isinstance(start, Since) else None
    filter_ = EventFilter.of(**wanted, since=since, until=until if isinstance(until, datetime) else None)
    profile.check_wanted(filter_.entity, filter_.action)
    subject = profile.event_filter(filter_.entity, filter_.action, filter_.project_id)
    waits, keeps = None if follow else PATIENCE_SECONDS, not profile.is_shared
    opening = ordered_reader(client, profile.event_stream, subject, patience_seconds=waits, keeps_sequences=keeps)
    async with opening as reader:
        history = Replay(client, profile, reader, filter_, until if isinstance(until, int) else None, passed, caught_up)
        await history.start(start, follow=follow and not isinstance(start, Last))
        events = _last(history, start.count, follow=follow) if isinstance(start, Last) else history.events()
        async with aclosing(events):
            yield events


async def _last(history: Replay, count: int, *, follow: bool) -> AsyncGenerator[Replayed, None]:
    """The last events up to the end, and with `follow` those after it.

    A subject of the shared stream may be that of others, too: where theirs were counted, it is begun further back.
    """
    kept: deque[Replayed] = deque(maxlen=count)
    counted = count
    while True:
        async for event in history.events():
            kept.append(event)
        counted *= BACK
        if len(kept) == count or not await history.further_back(counted):
            break
        kept.clear()
    for event in kept:
        yield event
    if follow:
        await history.go_on()
        async for event in history.events():
            yield event


def _is_in(value: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    """Whether `value` is in one of the ascending `ranges`."""
    at = bisect_right(ranges, value, key=lambda part: part[0]) - 1
    return at >= 0 and value < ranges[at][1]
