"""A stream as its leader tells of it: its subjects, and how far it goes. Replicas, with consumers, may be behind it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from time import monotonic

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig, StreamInfo

from registry.broker.errors import is_unheard, no_stream, translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.broker.stored import first_message
from registry.concurrency import tasks
from registry.concurrency.backoff import doubled
from registry.concurrency.outage import Outage
from registry.errors import Conflict, NotFound, Unavailable, Unprepared

RETRY_SECONDS = (0.1, 2.0)
BEHIND_SECONDS = 20.0
"""How long a stream that mirrors another is waited for; it is behind by milliseconds while its server can follow."""


async def bound_subjects(client: Client, stream: str) -> list[str] | None:
    """The subjects of a stream; None where there is no such stream, or this account may not look at it.

    Raises `Unavailable`.
    """
    try:
        with translated_nats(f"cannot look at stream {stream}"):
            return list((await client.jetstream().stream_info(stream)).config.subjects or [])
    except (NotFound, Unprepared):
        return None


class Extent:
    """The extent of a stream, for one reader."""

    def __init__(self, jetstream: JetStreamContext, stream: str, *, keeps_sequences: bool) -> None:
        self._js = jetstream
        self._stream = stream
        self._keeps_sequences = keeps_sequences
        self._created: datetime | None = None
        """When the stream was created that was checked last."""
        self._outage = Outage("reader", stream=stream)
        self._asked: asyncio.Task[StreamInfo] | None = None
        self._asked_at = 0.0
        self.is_closed = False
        """Whether this account may not ask for a message: it lacks the right, or the import."""

    async def info(self) -> StreamInfo:
        """What the server says of the stream. Raises `NotFound`, `Unavailable`."""
        try:
            with translated_nats(f"cannot read stream {self._stream}"):
                return await self._js.stream_info(self._stream)
        except NotFound as error:
            raise no_stream(self._stream) from error

    async def goes_on(self, subject: str, sequence: int, end: int) -> bool:
        """Whether there is a message on `subject` behind `sequence`, up to `end`; False for who may not ask.

        Raises `Unavailable`, `NotFound` when there is no such stream.
        """
        if self.is_closed or sequence >= end:
            return False
        for is_again in (False, True):
            try:
                found = await first_message(self._js, self._stream, sequence + 1, subject)
            except Unavailable as error:
                if not _may_be_closed(error):
                    raise
            else:
                return found is not None and (found.seq or 0) <= end
            if not is_again:
                await self.info()  # which is heard: where nothing is, or all is refused, that may pass
        self.is_closed = True
        return False

    async def end(self) -> int:
        """Sequence of the last message, when this was asked: a question of this moment is not asked again.

        So who gives it up for a message has the answer later, however fast messages come. Raises as `info`.
        """
        if self._asked is None or monotonic() - self._asked_at > REQUEST_TIMEOUT_SECONDS:
            self._asked, self._asked_at = asyncio.create_task(self.info()), monotonic()
            self._asked.add_done_callback(tasks.retrieved)
        asked = self._asked
        try:
            return (await asyncio.shield(asked)).state.last_seq
        finally:
            if asked.done():
                self._asked = None

    async def close(self) -> None:
        """Give up what is asked."""
        asked, self._asked = self._asked, None
        if asked is not None:
            await tasks.end([asked])

    async def check(self, position: int) -> None:
        """Check that the stream has what was read.

        One that mirrors another may be behind it, of a replicated one a former leader may tell: that is waited for.

        One that this reader has read so far has lost its end, as in a power failure. Where the same messages come back
        at the same sequences, which its publisher sees to, that is waited for, too, and said. Of one that was created
        since, or of which a token alone says how far it was read, nobody knows whether the same will ever stand there.

        Raises `Unavailable` for what is waited for, else `Conflict`.
        """
        began = monotonic()
        failures = 0
        while (info := await self.info()).state.last_seq < position:
            ends = f"stream {self._stream} ends at sequence {info.state.last_seq}, but {position} was read"
            if info.mirror is None and self._keeps_sequences and info.created == self._created:
                self._outage.failed(lost := Unavailable(f"{ends} from it: waiting for its publisher to complete it"))
                raise lost
            if monotonic() - began > BEHIND_SECONDS and info.mirror is not None:
                raise Unavailable(f"{ends} from what it mirrors: waiting for it")
            may_come = is_replicated(info.config) and self._created in {None, info.created}
            if info.mirror is None and (not may_come or monotonic() - began > BEHIND_SECONDS):
                was = "created anew or restored from a backup; imi-registry doctor tells what to do"
                raise Conflict(f"{ends} from it: it was {was}")
            await asyncio.sleep(doubled(failures, RETRY_SECONDS))
            failures += 1
        is_another = position > 0 and self._created not in {None, info.created}
        if is_another and info.mirror is None and not self._keeps_sequences:
            raise Conflict(f"stream {self._stream} was created anew since {position} was read from it")
        self._created = info.created
        self.is_closed = False
        self._outage.over()


def is_replicated(config: StreamConfig) -> bool:
    """Whether a stream has more than one replica."""
    return (config.num_replicas or 1) > 1


def _may_be_closed(error: Unavailable) -> bool:
    """Whether a question was refused, or nobody heard it, as where it is not imported."""
    return isinstance(error, Unprepared) or is_unheard(error)
