"""The tail of the event stream: what it holds behind a place, as far as the publisher recognises it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.broker.stored import first_message
from registry.profiles.profile import Profile

FETCH = 500
"""Messages asked for at a time."""
CONSUMERS = 2
"""So many read a tail one after the other, where messages are lost on the way; behind them each is asked for."""
END_SECONDS = 1.0
"""So long is waited until a consumer is removed."""


class Stored(NamedTuple):
    """A message in the stream, as far as the publisher needs to recognise it."""

    sequence: int
    outbox_id: int | None
    event_id: str | None


def of_ours(messages: Iterable[Stored]) -> list[tuple[int, str]]:
    """Outbox id and event id of those that are marked as events of this registry."""
    return [(one.outbox_id, one.event_id) for one in messages if one.outbox_id is not None and one.event_id is not None]


async def tail_of(jetstream: JetStreamContext, profile: Profile, after: int) -> AsyncGenerator[list[Stored], None]:
    """Pages of the messages with a sequence above `after`, in order, up to where the stream ended at first or more.

    A consumer of a replicated stream may be on a replica that is behind: what it leaves out, the stream's leader is
    asked for. Raises what nats-py does, or the error of ours that it means.
    """
    last = (await jetstream.stream_info(profile.event_stream)).state.last_seq
    for _ in range(CONSUMERS):
        try:
            async with aclosing(_by_consumer(jetstream, profile, after)) as pages:
                async for page in pages:
                    after = page[-1].sequence
                    yield page
            break
        except TimeoutError:  # a route broke
            continue
        except (nats.js.errors.APIError, LookupError, ValueError):  # no consumer is to be had, or somebody wrote a
            break  # message that nats-py takes for the server's word: what is wrong with the stream the next ones tell
    async for page in _one_by_one(jetstream, profile, after, last):
        yield page


async def _by_consumer(jetstream: JetStreamContext, profile: Profile, after: int) -> AsyncGenerator[list[Stored], None]:
    """Headers only, by a consumer for this tail. Raises `TimeoutError` where one is lost on the way."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=after + 1,
        ack_policy=AckPolicy.NONE,
        headers_only=True,
        mem_storage=True,
        inactive_threshold=30,
    )
    subscription = await jetstream.pull_subscribe(profile.event_subjects, stream=profile.event_stream, config=config)
    try:
        pending = (await subscription.consumer_info()).num_pending or 0
        delivered = 0
        while pending:
            page = await subscription.fetch(min(pending, FETCH), timeout=REQUEST_TIMEOUT_SECONDS)
            whole = [
                message
                for place, message in enumerate(page, delivered + 1)
                if message.metadata.sequence.consumer == place
            ]
            stored = [
                Stored(message.metadata.sequence.stream, *profile.identity(message.headers or {})) for message in whole
            ]
            # On a replica that is behind `after`, a consumer begins at the replica's end.
            if new := [one for one in stored if one.sequence > after]:
                yield new
            if len(whole) < len(page):
                raise TimeoutError("a message was lost on the way")
            delivered += len(page)
            # No more than there were at first: somebody may write faster than this reads.
            pending = min(pending - len(page), page[-1].metadata.num_pending)
    finally:
        await end_reading(subscription)


async def end_reading(subscription: JetStreamContext.PullSubscription) -> None:
    """End a subscription, and its consumer with it: a stream takes only so many. One out of reach goes by itself."""
    with suppress(nats.errors.Error, TimeoutError):
        await subscription.unsubscribe()
        async with asyncio.timeout(END_SECONDS):
            await subscription._js.delete_consumer(subscription._stream, subscription._consumer)


async def _one_by_one(
    jetstream: JetStreamContext, profile: Profile, after: int, last: int
) -> AsyncGenerator[list[Stored], None]:
    """Each message up to `last` by a request: readers may have made as many consumers as the stream takes."""
    page: list[Stored] = []
    while after < last:
        message = await first_message(jetstream, profile.event_stream, after + 1, profile.event_subjects)
        if message is None:  # the last ones are deleted
            break
        after = message.seq or last
        page.append(Stored(after, *profile.identity(message.headers or {})))
        if len(page) == FETCH:
            yield page
            page = []
    if page:
        yield page
