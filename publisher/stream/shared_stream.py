"""A stream that others own and write to, too: pipelined publishing, and recovery by our own messages in its tail.

Other producers move the last sequence all the time, so it cannot fence. Exactly once rests on `Nats-Msg-Id` within the
stream's dedupe window there, and order on never having two messages of one row under way at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from nats.js.api import RetentionPolicy, StreamConfig

from publisher.stream.event_stream import EventStream
from publisher.stream.protocol import publish
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.errors import Conflict, NotFound
from registry.events.message import Message
from registry.profiles.bloodbank import SOURCE_HEADER

WINDOW = 512
"""Messages under way at once."""
LEAST_DEDUPE_SECONDS = 60.0
"""A stream that forgets message ids sooner than this cannot carry the promise over a restart of the relay."""


class SharedStream(EventStream):
    """One JetStream stream with other producers in it; it is neither created nor altered."""

    async def send(self, messages: Sequence[Message], expected: int) -> asyncio.Future[int]:
        """Send `messages`; returns a future of the highest sequence of ours in the stream.

        Messages of one row wait for each other, so that one that fails cannot be overtaken by the next. Raises
        `Unavailable` when not all are acknowledged; some may be stored then, and `tail` knows.
        """
        *first, last = waves(messages)
        for wave in first:
            outcome = await self._send_wave(wave, expected)
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                    expected = await outcome
            except TimeoutError:
                raise self.silent() from None
        return await self._send_wave(last, expected)

    async def _send_wave(self, messages: Sequence[Message], last_sequence: int) -> asyncio.Future[int]:
        reply, outcome = self._acknowledgements.expect(len(messages), last_sequence)
        source = f"{SOURCE_HEADER}: {self._profile.source}\r\n"
        await self._write([publish(message, message.headers + source, reply) for message in messages])
        return outcome

    async def _create(self) -> StreamConfig:
        raise NotFound(f"stream {self.name} does not exist; in this profile others create it")

    def check(self, found: StreamConfig) -> None:
        """Raise `Conflict` for a configuration that cannot carry the registry's events."""
        problems = []
        if found.retention != RetentionPolicy.LIMITS:
            problems.append(f"retention is {found.retention}, expected limits")
        if found.sealed or found.mirror is not None:
            problems.append("it takes no messages (sealed, or a mirror)")
        if 0 < found.duplicate_window < LEAST_DEDUPE_SECONDS:
            problems.append(
                f"duplicate_window is {found.duplicate_window:g} s, expected at least {LEAST_DEDUPE_SECONDS:g}"
            )
        if found.no_ack:
            problems.append("no_ack is true, expected false")
        if problems:
            raise Conflict(f"stream {self.name} cannot carry the registry's events: {'; '.join(problems)}")
        self._profile = self._profile.on_streams(found.subjects or [], None)


def waves(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Consecutive parts of `messages`, each of at most `WINDOW` and without two of the same row."""
    wave: list[Message] = []
    rows: set[str] = set()
    for message in messages:
        if message.row_key in rows or len(wave) == WINDOW:
            yield wave
            wave, rows = [], set()
        wave.append(message)
        rows.add(message.row_key)
    if wave:
        yield wave
