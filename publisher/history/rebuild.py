"""Rebuild a stream from the outbox: the same events under the same ids in the same order, while writers go on.

In a stream of our own each event gets the sequence it had, so positions that consumers kept stay good. In a shared
stream, which others write to, it gets the next one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from nats.aio.client import Client
from psycopg import AsyncConnection

from publisher.outbox import record
from publisher.outbox.connection import LEADER, connect
from publisher.outbox.cursor import Cursor, advance
from publisher.outbox.lead import holder_of_lead, try_lead
from publisher.outbox.record import Place
from publisher.relay.batching import MAX_BATCH_BYTES
from publisher.relay.drain import Drain
from publisher.relay.metrics import RelayMetrics
from publisher.settings import Settings, profile_of
from publisher.stream.event_stream import REQUEST_TIMEOUT_SECONDS, EventStream
from publisher.stream.opening import open_stream
from registry.broker.connection import connect_nats, translated_nats
from registry.errors import Conflict, Unavailable
from registry.events.filter import EventFilter
from registry.events.message import Message
from registry.position import Position
from registry.profiles.profile import Profile

PLACEHOLDER = b'{"placeholder": "a message that is no event of the registry stood here"}'


class Rebuilt(NamedTuple):
    """What a rebuild did."""

    stream: str
    events: int
    """Published into the stream now."""
    first_sequence: int
    """Where the stream begins: older events are neither in the outbox nor in the stream."""
    last_sequence: int


Progress = Callable[[int, int], None]
"""Called with the number of sequences done and their total."""


async def rebuild(settings: Settings, progress: Progress = lambda _done, _total: None) -> Rebuilt:
    """Publish what the stream has lost again, up to where the relay stopped; the relay then goes on from there.

    Can be interrupted and run again. Raises `Conflict` when a relay leads, when nothing is lost, or when the stream
    holds something else; `NotFound` when nothing was ever published; `Unavailable`.
    """
    profile = profile_of(settings)
    name = f"imi-registry rebuild {os.getpid()}"
    async with (
        connect(settings.database_url or "", name, LEADER) as conn,
        connect_nats(settings.nats_url or "", name) as client,
        open_stream(settings.nats_url or "", name, profile, settings) as stream,
    ):
        await record.state(conn, stream.name)
        cursor = await try_lead(conn, stream.name, name)
        if cursor is None:
            holder = await holder_of_lead(conn, stream.name, settings.stale_seconds)
            raise Conflict(f"a publisher leads stream {stream.name}, {holder}: stop up or serve, then rebuild")
        rebuilding = _Rebuild(settings, profile, conn, client, stream, cursor, progress)
        return await (rebuilding.republish() if profile.is_shared else rebuilding.restore())


class _Rebuild:
    def __init__(
        self,
        settings: Settings,
        profile: Profile,
        conn: AsyncConnection,
        client: Client,
        stream: EventStream,
        cursor: Cursor,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._profile = profile
        self._conn = conn
        self._js = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)
        self._stream = stream
        self._cursor = cursor
        self._progress = progress
        self._published = 0
        self._last = 0
        """Sequence at which the stream ends now."""

    async def restore(self) -> Rebuilt:
        """Give every lost event its old sequence."""
        end = self._cursor.stream_sequence
        self._last = await self._stream.last_sequence()
        if self._last >= end:
            raise Conflict(
                f"stream {self._stream.name} ends at sequence {self._last} and lacks nothing that was published; if it "
                "was emptied, replays read the rest from the outbox; to fill it again, delete it first"
            )
        forgotten = (await record.state(self._conn, self._stream.name)).forgotten
        if self._last == 0 and forgotten:
            await self._begin_behind(forgotten)
        elif self._last:
            await self._check_end()
        start = self._last
        while places := await record.places(self._conn, self._stream.name, Position(self._last), Position(end + 1)):
            messages = await self._messages(places)
            for first_sequence, batch in _batches(places, messages, self._settings.batch_size):
                await self._hold_places(first_sequence - 1)
                await self._send(batch)
            await self._hold_places(places[-1].sequence)
            self._progress(self._last - start, end - start)
        await self._hold_places(end)
        return Rebuilt(self._stream.name, self._published, forgotten + 1, self._last)

    async def republish(self) -> Rebuilt:
        """Publish every event that is missing behind what the stream holds, and record where each stands now."""
        self._last = await self._stream.last_sequence()
        if self._last >= self._cursor.stream_sequence:
            raise Conflict(f"stream {self._stream.name} ends at {self._last} and lacks nothing that was published")
        present = {message.outbox_id async for page in self._stream.tail(0) for message in page}
        after = Position(0)
        while places := await record.places(
            self._conn, self._stream.name, after, Position(self._cursor.stream_sequence + 1)
        ):
            messages = await self._messages([place for place in places if place.outbox_id not in present])
            if messages:
                await self._send([messages[place.outbox_id] for place in places if place.outbox_id in messages])
            after = Position(places[-1].sequence, places[-1].outbox_id)
            self._progress(after.sequence, self._cursor.stream_sequence)
        self._cursor.stream_sequence = 0
        drain = Drain(self._settings, self._profile, RelayMetrics(), self._conn, self._stream, self._cursor)
        await drain.recover()
        return Rebuilt(self._stream.name, self._published, 1, self._cursor.stream_sequence)

    async def _messages(self, places: list[Place]) -> dict[int, Message]:
        rows = await record.rows(self._conn, [place.outbox_id for place in places], EventFilter())
        return {id_: self._profile.encode(row, self._stream.max_payload) for id_, row in rows.items()}

    async def _send(self, messages: list[Message]) -> None:
        answer = await self._stream.send(messages, self._last)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                self._last = await answer
        except TimeoutError:
            raise Unavailable(f"stream {self._stream.name} does not acknowledge") from None
        self._published += len(messages)
        await advance(self._conn, self._cursor)  # the heartbeat: standbys keep waiting

    async def _check_end(self) -> None:
        """Raise `Conflict` unless the stream's last message is the event that the record has there."""
        places = await record.places(self._conn, self._stream.name, Position(self._last - 1), Position(self._last + 1))
        found = [message async for page in self._stream.tail(self._last - 1) for message in page]
        if [place.outbox_id for place in places] != [message.outbox_id for message in found]:
            raise Conflict(
                f"stream {self._stream.name} ends at sequence {self._last} with another message than was published "
                "there: it is not an older state of the lost one; delete it, then rebuild"
            )

    async def _begin_behind(self, sequence: int) -> None:
        """Let the empty stream begin as if it had lost its messages up to `sequence` to its limits."""
        with translated_nats(f"cannot prepare stream {self._stream.name}"):
            await self._js.purge_stream(self._stream.name, seq=sequence + 1)
        self._last = await self._stream.last_sequence()

    async def _hold_places(self, until: int) -> None:
        """Where a message stood that is no event of the outbox, a deleted one takes its place."""
        subject = self._profile.event_filter("registry", "placeholder", "-")
        with translated_nats(f"cannot publish to stream {self._stream.name}"):
            while self._last < until:
                headers = {"Nats-Expected-Last-Sequence": str(self._last)}
                ack = await self._js.publish(subject, PLACEHOLDER, headers=headers)
                await self._js.delete_msg(self._stream.name, ack.seq)
                self._last = ack.seq


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
