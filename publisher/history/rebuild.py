"""Rebuild a stream from the outbox: the same events under the same ids in the same order, while writers go on.

In a stream of our own each event gets the sequence it had, so positions that consumers kept stay good. In a shared
stream, which others write to, it gets the next one.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from publisher.history.shared_tail import compare_anew
from publisher.outbox import record
from publisher.outbox.connection import LEADER, connect
from publisher.outbox.lead import end_if_hanging, holder_of_lead, try_lead
from publisher.outbox.rows import known_events
from publisher.relay.completion import Completion, Progress
from publisher.relay.heartbeat import Heartbeat
from publisher.relay.metrics import RelayMetrics
from publisher.relay.recovery import Recovery
from publisher.relay.term import Term
from publisher.settings import Settings, profile_of
from publisher.stream.opening import open_stream
from publisher.stream.tail import of_ours
from registry.errors import Conflict
from registry.position import Position


class Rebuilt(NamedTuple):
    """What a rebuild did."""

    stream: str
    events: int
    """Published into the stream now."""
    first_sequence: int
    """Where the stream begins: older events are neither in the outbox nor in the stream."""
    last_sequence: int


async def rebuild(settings: Settings, progress: Progress = lambda _done, _total: None) -> Rebuilt:
    """Publish what the stream has lost again, up to where the relay stopped; the relay then goes on from there.

    Can be interrupted and run again. Raises `Conflict` when a relay leads, when nothing is lost, or when the stream
    holds something else; `NotFound` when nothing was ever published; `Unavailable`.
    """
    profile = profile_of(settings)
    name = f"imi-registry rebuild {os.getpid()}"
    async with (
        connect(settings.database_url or "", name, LEADER) as conn,
        open_stream(settings.nats_url or "", name, profile, settings) as stream,
    ):
        await record.state(conn, stream.name)
        cursor = await try_lead(conn, stream.name, name)
        if cursor is None:
            holder = await holder_of_lead(conn, stream.name, settings.stale_seconds)
            await end_if_hanging(conn, holder)
            raise Conflict(f"a publisher leads stream {stream.name}: stop up or serve, then rebuild ({holder})")
        heartbeat = Heartbeat(conn, cursor, settings.heartbeat_seconds)
        rebuilding = _Rebuild(Term(settings, stream.profile, RelayMetrics(), conn, stream, cursor, heartbeat), progress)
        async with heartbeat.beating():
            return await (rebuilding.republish() if profile.is_shared else rebuilding.restore())


class _Rebuild:
    def __init__(self, term: Term, progress: Progress) -> None:
        self._term = term
        self._progress = progress
        self._completion = Completion(term)

    async def restore(self) -> Rebuilt:
        """Give every lost event its old sequence."""
        end = self._term.cursor.stream_sequence
        last = await self._term.stream.last_sequence()
        if last >= end:
            raise Conflict(
                f"stream {self._term.stream.name} ends at sequence {last} and lacks nothing that was published; if it "
                "was emptied, replays read the rest from the outbox; to fill it again, delete it first"
            )
        forgotten = (await record.state(self._term.conn, self._term.stream.name)).forgotten
        if last == 0 and forgotten:
            last = await self._term.stream.begin_behind(forgotten)
        elif last:
            await self._completion.check_end(last)
        events = await self._completion.run(last, end, self._progress)
        return Rebuilt(self._term.stream.name, events, forgotten + 1, end)

    async def republish(self) -> Rebuilt:
        """Publish every event that is missing behind what the stream holds, and record where each stands now."""
        last = await self._term.stream.last_sequence()
        if last >= self._term.cursor.stream_sequence:
            raise Conflict(f"stream {self._term.stream.name} ends at {last} and lacks nothing that was published")
        present: set[int] = set()
        async for page in self._term.stream.tail(0):
            pairs = of_ours(page)
            known = await known_events(self._term.conn, pairs)
            present.update(outbox_id for outbox_id, _ in known)
        after, published = Position(0), 0
        while places := await record.places(
            self._term.conn, self._term.stream.name, after, Position(self._term.cursor.stream_sequence + 1)
        ):
            missing = [place for place in places if place.outbox_id not in present]
            async for _, messages in self._completion.parts(missing):
                if messages:
                    await self._completion.send(list(messages.values()))
                    published += len(messages)
            after = Position(places[-1].sequence, places[-1].outbox_id)
            self._progress(after.sequence, self._term.cursor.stream_sequence)
        await compare_anew(self._term.conn, self._term.stream.name)
        self._term.cursor.stream_sequence = 0
        await Recovery(self._term).run()
        return Rebuilt(self._term.stream.name, published, 1, self._term.cursor.stream_sequence)
