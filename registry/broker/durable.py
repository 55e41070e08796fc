"""The consumers of one durable name: whose turn it is to read, and where reading goes on.

One process at a time reads. Its consumer is named after the durable name with a number. When it ends with messages in
hand, or may have lost some, the next one makes the next consumer, which starts with the first message that is not
acknowledged; it is there before the older one goes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

import nats.js.errors
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, ConsumerInfo, DeliverPolicy

from registry.broker.consumers import consumers_of
from registry.broker.errors import no_stream, translated_nats
from registry.broker.pull import GONE_SECONDS, delivered_of
from registry.concurrency.outage import Outage
from registry.errors import Conflict, Invalid, NotFound, Unavailable
from registry.log import log
from registry.validation import printable, told

POLL_SECONDS = 0.5
LEANED_ON = (
    "ack_policy",
    "ack_wait",
    "backoff",
    "max_deliver",
    "max_ack_pending",
    "headers_only",
    "filter_subject",
)
"""Settings of a consumer that order and completeness lean on, and that anybody may change while it is read."""
STAYS_BY = ("inactive_threshold",)
"""By these it may be gone when nobody reads it; what is acknowledged there is so all the same."""
FILTER = "imi-filter"
"""Member of a consumer's metadata: of the messages on its subject, which ones are read and not merely acknowledged. One
that an older version has made is without it."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_durable(name: str) -> bool:
    """Whether a subscription can be called so."""
    return _NAME.fullmatch(name) is not None


def checked_durable(name: str) -> str:
    """`name`, if a subscription can be called so. Raises `Invalid`."""
    if not is_durable(name):
        raise Invalid(f'durable {printable(name)} must be 1 to 64 letters, digits, "_" and "-"')
    return name


class Turn(NamedTuple):
    """What a process reads now."""

    consumer: str
    delivered: int
    """Consumer sequence of the last delivery that was made before."""
    done: int
    """Sequence in the stream up to which everything is acknowledged."""
    generation: int
    """How many streams of that name were seen to take the place of one before: of each the sequences are others."""


class Durable:
    """The consumers of one durable name on one stream, all of one configuration but for where they start."""

    def __init__(
        self,
        client: Client,
        stream: str,
        name: str,
        first: ConsumerConfig,
        *,
        keeps_sequences: bool,
        outage: Outage,
    ) -> None:
        """`first` is the consumer to make when there was none ever; it says where a first start begins.

        With `keeps_sequences` a stream that is lost comes back with each message at its old sequence. What is done
        while reading is interrupted is told to `outage`.
        """
        self._client = client
        self._js = client.jetstream()
        self._stream = stream
        self._name = name
        self._first = first
        self._made = first
        """As the server makes it: what the stream lays down for consumers that do not say otherwise is in it."""
        self._keeps_sequences = keeps_sequences
        self._outage = outage
        self._known: int | None = None
        """The highest sequence that is known to be acknowledged, with all before it."""
        self._created: datetime | None = None
        """When the stream was created that this sequence is of."""
        self._generation = 0
        """Of that stream; as in a `Turn`."""
        self._seen: tuple[int, datetime | None] = (0, None)
        """Number of the newest consumer that was seen to be ours, and when it was created."""
        self._limited = ""
        """A consumer of ours that somebody lets serve smaller requests than ours alone."""

    @property
    def has_seen_stream(self) -> bool:
        """Whether there ever was a stream: one that is gone then comes back."""
        return self._created is not None

    async def take_over(self, done: int, generation: int) -> Turn:
        """Wait until nobody else reads, and take the turn; `done` is up to where this process is done with the stream.

        It is of the stream of `generation`, and nothing to the next one, which an earlier try may have seen.
        Raises `NotFound` when there is no stream, `Conflict` when the name is in use for other messages, `Unavailable`.
        """
        if self._known is not None and generation == self._generation:
            self._known = max(self._known, done)
        gone_for = 0.0
        before: tuple[str, int] | None = None
        is_logged = False
        while True:
            try:
                with translated_nats(f"cannot subscribe to stream {self._stream}"):
                    last = await self._look_at_stream()
                    number, newest = await self._newest()
                    if newest is None:
                        return await self._make_first(last)
                    is_ours = self._is_ours(number, newest)
                    if is_ours and (self._known is None or self._works_as_made(newest, LEANED_ON)):
                        self._known = max(self._known or 0, _floor(newest))
                    if is_ours:
                        self._seen = number, newest.created
                    now = newest.name, delivered_of(newest)
                    gone_for = 0.0 if newest.num_waiting or now != before else gone_for + POLL_SECONDS
                    before = now
                    if gone_for > GONE_SECONDS:
                        return await self._succeed(number, newest, is_ours=is_ours)
            except NotFound as error:
                raise no_stream(self._stream) from error
            if not is_logged:
                self._outage.note("waiting until a consumer has no reader", consumer=newest.name)
                is_logged = True
            await asyncio.sleep(POLL_SECONDS)

    async def look(self, turn: Turn) -> ConsumerInfo:
        """What the server tells of the consumer of a turn now.

        Raises `Unavailable` when it is another one, or works in another way.
        """
        with translated_nats(f"cannot look at consumer {turn.consumer} of stream {self._stream}"):
            info: ConsumerInfo = await self._js.consumer_info(self._stream, turn.consumer)
        if info.created != self._seen[1]:
            raise Unavailable(f"consumer {turn.consumer} of stream {self._stream} was made anew by somebody else")
        if not self._works_as_made(info):
            raise Unavailable(f"consumer {turn.consumer} of stream {self._stream} was changed by somebody else")
        return info

    def limited(self, turn: Turn) -> None:
        """Take note that the consumer of a turn serves smaller requests alone: nats-py does not tell that setting."""
        self._limited = turn.consumer

    def _is_ours(self, number: int, newest: ConsumerInfo) -> bool:
        """Whether it is not one that somebody else has made since we know of that number: we never make it again."""
        seen, created = self._seen
        return number > seen or (number == seen and newest.created == created)

    def _works_as_made(self, info: ConsumerInfo, names: Sequence[str] = (*LEANED_ON, *STAYS_BY)) -> bool:
        """Whether nobody has changed what order and completeness lean on."""
        return info.name != self._limited and all(
            getattr(info.config, name) == getattr(self._made, name) for name in names
        )

    async def _look_at_stream(self) -> int:
        """Find out whether the place that is known is one in this stream; returns where it ends."""
        info = await self._js.stream_info(self._stream)
        limits = info.config.consumer_limits
        self._made = replace(self._first, inactive_threshold=limits.inactive_threshold if limits else None)
        last = info.state.last_seq
        is_another = self._created not in {None, info.created}
        self._created = info.created
        if self._known is None:
            return last
        if self._keeps_sequences:
            if last < self._known:
                raise Unavailable(
                    f"stream {self._stream} ends at sequence {last}, but {self._known} was read from it: it was "
                    "created anew; waiting for it to be rebuilt, imi-registry doctor tells how"
                )
        elif is_another or last < self._known:
            log.warning("another stream of that name: reading it from its start", stream=self._stream)
            self._known = 0
            self._generation += 1
        return last

    async def _newest(self) -> tuple[int, ConsumerInfo | None]:
        """The newest consumer of this durable name and its number; the older ones are deleted."""
        found = await consumers_of(self._client, self._stream)
        name = re.compile(re.escape(self._name) + r"-(\d+)")
        numbered = [(name.fullmatch(info.name), info) for info in found]
        ours = sorted(((int(match[1]), info) for match, info in numbered if match), key=itemgetter(0))
        if not ours:
            return 0, None
        *older, (number, newest) = ours
        for _, info in older:
            await self._delete(info)
        theirs, wanted = newest.config, self._first
        if theirs.filter_subject != wanted.filter_subject or _filter(theirs) not in {None, _filter(wanted)}:
            raise Conflict(
                f'durable "{self._name}" is a subscription to {_what(theirs)}, not to {_what(wanted)}; '
                "choose another name"
            )
        return number, newest

    async def _make_first(self, last: int) -> Turn:
        """Make a consumer where there is none: by the rule of a first start only when no place is known."""
        if self._known is not None:
            log.warning("consumer is gone: made again", durable=self._name, after=self._known)
            return await self._make(self._seen[0] + 1, self._behind(self._known))
        # New ones by the sequence: a replica that is behind, or that leads later, would begin at an end of its own.
        is_new = self._first.deliver_policy == DeliverPolicy.NEW
        return await self._make(1, self._behind(last) if is_new else self._first)

    async def _succeed(self, number: int, newest: ConsumerInfo, *, is_ours: bool) -> Turn:
        """The turn after a reader that is gone: its own consumer, if it left nothing in hand.

        One that somebody else made starts where he pleased, and what is acknowledged there says nothing. One that
        somebody changed may redeliver, or take for done what was not, so who knows better does not believe it either.
        """
        is_changed = not self._works_as_made(newest)
        if not is_ours:
            log.warning("consumer was made anew by somebody else", consumer=newest.name, after=self._known)
        elif is_changed:
            log.warning("consumer was changed by somebody else", consumer=newest.name, after=self._known)
        if newest.num_ack_pending or self._known is None or not is_ours or is_changed:
            turn = await self._make(max(number, self._seen[0]) + 1, self._behind(self._known or 0))
            await self._delete(newest)  # nobody reads it any more, and whoever looks at it sees it fall behind
            return turn
        delivered = delivered_of(newest)
        return Turn(newest.name, delivered, self._known, self._generation)

    def _behind(self, sequence: int) -> ConsumerConfig:
        return replace(self._first, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=sequence + 1)

    async def _make(self, number: int, config: ConsumerConfig) -> Turn:
        name = f"{self._name}-{number}"
        try:
            info = await self._js.add_consumer(self._stream, replace(config, name=name, durable_name=name))
        except nats.js.errors.BadRequestError:
            await self._check_missing(name)
            raise
        self._known = max(self._known or 0, _floor(info), (config.opt_start_seq or 1) - 1)
        self._seen = number, info.created
        return Turn(name, 0, self._known, self._generation)

    async def _delete(self, consumer: ConsumerInfo) -> None:
        with suppress(nats.js.errors.NotFoundError):  # another process was quicker
            await self._js.delete_consumer(self._stream, consumer.name)

    async def _check_missing(self, name: str) -> None:
        """Raise `Unavailable` when another process was quicker to make a consumer."""
        with suppress(nats.js.errors.NotFoundError):
            await self._js.consumer_info(self._stream, name)
            raise Unavailable(f"consumer {name} of stream {self._stream} was made by another process meanwhile")


def _floor(info: ConsumerInfo) -> int:
    return info.ack_floor.stream_seq if info.ack_floor else 0


def _filter(config: ConsumerConfig) -> str | None:
    return (config.metadata or {}).get(FILTER)


def _what(config: ConsumerConfig) -> str:
    """What a consumer is for, in words."""
    return f"{config.filter_subject} {told(_filter(config) or '')}".rstrip()
