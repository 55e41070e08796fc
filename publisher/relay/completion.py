"""Complete a stream that lost its end: the recorded events, each under its id and at the sequence it had.

For a stream of our own. A stream that others write to, too, has other messages at those sequences by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import groupby
from time import monotonic

from publisher.outbox import record
from publisher.outbox.cursor import advance
from publisher.outbox.record import Place
from publisher.outbox.rows import known_events
from publisher.relay.batching import MAX_BATCH_BYTES
from publisher.relay.term import Term
from publisher.stream.acknowledgements import StreamMoved
from publisher.stream.event_stream import StreamLost
from publisher.stream.tail import of_ours
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.errors import Unavailable
from registry.events.filter import EventFilter
from registry.events.message import Message
from registry.position import Position
from registry.profiles.profile import encoded

COMPARED = 100
"""Messages at the end of a stream that are compared with the record, at most."""

Progress = Callable[[int, int], None]
"""Called with the number of sequences done and their total."""


class Completion:
    """Completes one stream out of the record, for whoever leads it with `cursor`."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._last = 0
        """Sequence at which the stream ends now."""

    async def check_end(self, last: int) -> None:
        """Raise `StreamLost` unless the stream, which ends at sequence `last`, is an older state of the lost one.

        It is when its last messages are events that the outbox holds, where the record has them, and none is anything
        else than the record says. One that was deleted tells nothing.
        """
        await self._term.stream.delete_placeholder()
        after = Position(max(last - COMPARED, 0))
        places = await record.places(self._term.conn, self._term.stream.name, after, Position(last + 1))
        recorded = {place.sequence: place.outbox_id for place in places}
        found = [message async for page in self._term.stream.tail(after.sequence) for message in page]
        known = await known_events(self._term.conn, of_ours(found))
        if not found and last == (await record.state(self._term.conn, self._term.stream.name)).forgotten:
            return  # behind what retention removed, as a rebuild lets it begin
        there = {
            message.sequence: message.outbox_id for message in found if (message.outbox_id, message.event_id) in known
        }
        expected = {message.sequence: recorded[message.sequence] for message in found if message.sequence in recorded}
        if not there or there != expected:
            raise StreamLost(
                f"stream {self._term.stream.name} ends at sequence {last} with another message than was published "
                "there: it is not an older state of the lost one; delete it, then rebuild"
            )

    async def run(self, last: int, end: int, progress: Progress = lambda _done, _total: None) -> int:
        """Publish what stood behind sequence `last` up to `end`; returns the number of events.

        Can be interrupted and run again. Raises `Unavailable`, `Deposed`.
        """
        self._last = last
        events = 0
        while places := await record.places(
            self._term.conn, self._term.stream.name, Position(self._last), Position(end + 1)
        ):
            async for part, messages in self.parts(places):
                for first_sequence, batch in _batches(part, messages, self._term.settings.batch_size):
                    self._last = await self._term.stream.hold_places(self._last, first_sequence - 1)
                    await self.send(batch)
                    events += len(batch)
            self._last = await self._term.stream.hold_places(self._last, places[-1].sequence)
            progress(self._last - last, end - last)
        self._last = await self._term.stream.hold_places(self._last, end)
        return events

    async def parts(self, places: list[Place]) -> AsyncIterator[tuple[list[Place], dict[int, Message]]]:
        """`places` in parts of about `MAX_BATCH_BYTES`, each with the events that the outbox holds, by outbox id.

        What was published as one batch is in one part.
        """
        batch_of = {place.outbox_id: place.batch for place in places}
        messages: dict[int, Message] = {}
        part_bytes, last_batch, rest = 0, None, places
        async for row in record.rows(self._term.conn, list(batch_of), EventFilter(), self._term.stream.max_payload):
            if not self._term.profile.publishes(row.entity, row.action):
                continue  # it was published while more was: a stream that is made anew does not get it again
            batch = batch_of[row.id]
            if part_bytes > MAX_BATCH_BYTES and batch != last_batch:
                end = next(number for number, place in enumerate(rest) if place.batch == batch)
                yield rest[:end], messages
                rest, messages, part_bytes = rest[end:], {}, 0
            message = messages[row.id] = encoded(self._term.profile, row, self._term.stream.max_payload)
            part_bytes += message.size
            last_batch = batch
            await self._keep_lead()
        yield rest, messages

    async def send(self, messages: list[Message]) -> None:
        """Publish `messages` at the end of the stream."""
        try:
            answer = await self._term.stream.send(messages, self._last)
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                self._last = await answer
        except TimeoutError:
            raise self._term.stream.silent() from None
        except StreamMoved as moved:
            raise Unavailable(
                f"stream {self._term.stream.name} was written to while it was completed: {moved}"
            ) from moved
        await self._keep_lead()

    async def _keep_lead(self) -> None:
        """Store the heartbeat when it is due: standbys keep waiting."""
        if monotonic() - self._term.cursor.stored_at >= self._term.settings.heartbeat_seconds:
            await advance(self._term.conn, self._term.cursor)


def _batches(places: list[Place], messages: dict[int, Message], limit: int) -> Iterator[tuple[int, list[Message]]]:
    """First sequence and messages of requests, each without a hole and no larger than one may be.

    What was published as one batch goes as one again, with others, so that a transaction's events stay together.
    """
    request: list[Message] = []
    first_sequence, request_bytes = 0, 0
    for _, group in groupby(places, lambda place: place.batch):
        for sequence, stretch in _stretches(group, messages):
            stretch_bytes = sum(message.size for message in stretch)
            fits = len(request) + len(stretch) <= limit and request_bytes + stretch_bytes <= MAX_BATCH_BYTES
            if request and (sequence != first_sequence + len(request) or not fits):
                yield first_sequence, request
                request, request_bytes = [], 0
            first_sequence = first_sequence if request else sequence
            request += stretch
            request_bytes += stretch_bytes
    if request:
        yield first_sequence, request


def _stretches(places: Iterable[Place], messages: dict[int, Message]) -> Iterator[tuple[int, list[Message]]]:
    """First sequence and messages of each part of `places` in which every event is there."""
    for is_there, part in groupby(places, lambda place: place.outbox_id in messages):
        if is_there:
            found = list(part)
            yield found[0].sequence, [messages[place.outbox_id] for place in found]
