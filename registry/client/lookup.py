"""One event, looked up: by its sequence in the stream, or by its id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import nats.js.errors
from nats.aio.client import Client

from registry.broker.errors import no_stream, translated_nats
from registry.client.replay import replay
from registry.errors import Invalid, NotFound
from registry.events.envelope import attributes_of
from registry.history.pages import Replayed
from registry.position import FromSequence, FromStart, Last, Position, Start
from registry.profiles.profile import Profile

LATEST = 10_000
"""So many of the last events are searched for an id before the whole history is: what is asked about is mostly new."""


class FoundEvent(NamedTuple):
    """An event, and where it is."""

    subject: str
    payload: bytes
    """Its envelope."""
    position: Position
    """`str(position)` is the token with which a replay goes on behind it."""
    headers: Mapping[str, str] | None
    """Those of its message; None when the stream no longer holds it and it comes from the publisher's history."""
    stored_at: datetime | None
    """When the stream stored it; None with `headers`."""


async def find_event(client: Client, profile: Profile, reference: int | UUID) -> FoundEvent:
    """The event with this sequence in the stream, or with this id, wherever it is kept.

    An id has no index on the stream: the last events are searched, then all. Raises `NotFound`, and `Unavailable` when
    it is to come from the publisher's history and no publisher answers.
    """
    if isinstance(reference, UUID):
        return await _with_id(client, profile, reference)
    stored = await _stored(client, profile, reference)
    return stored or await _recorded(client, profile, reference)


async def _with_id(client: Client, profile: Profile, event_id: UUID) -> FoundEvent:
    starts: list[Start] = [Last(LATEST), FromStart()]
    for start in starts:
        async with replay(client, profile, start) as events:
            async for event in events:
                if _is(event, event_id):
                    stored = await _stored(client, profile, event.sequence)
                    is_same = stored is not None and stored.payload == event.payload
                    return stored if stored and is_same else FoundEvent(*event, headers=None, stored_at=None)
    raise NotFound(f'no event has the id "{event_id}", or it is no longer kept')


def _is(event: Replayed, event_id: UUID) -> bool:
    text = str(event_id)
    if text.encode() not in event.payload:
        return False
    try:
        return bool(attributes_of(event.payload)["id"] == text)
    except Invalid:
        return False


async def _stored(client: Client, profile: Profile, sequence: int) -> FoundEvent | None:
    """The event as the stream has it; None when it does not hold the sequence any more.

    Raises `NotFound` for a sequence that is none of this registry's.
    """
    stream = profile.event_stream
    jetstream = client.jetstream()
    with translated_nats(f"cannot read stream {stream}"):
        try:
            last = (await jetstream.stream_info(stream)).state.last_seq
        except nats.js.errors.NotFoundError:
            raise no_stream(stream) from None
        if sequence > last:
            raise NotFound(f"sequence {sequence} is beyond the end of stream {stream}, {last}")
        try:
            message = await jetstream.get_msg(stream, sequence)
        except nats.js.errors.NotFoundError:
            return None
    headers = {name: str(value) for name, value in (message.headers or {}).items()}  # nats-py has others, beyond ASCII
    outbox_id, _ = profile.identity(headers)
    if outbox_id is None:
        raise NotFound(f"sequence {sequence} of stream {stream} is no event of this registry")
    return FoundEvent(
        message.subject or "", message.data or b"", Position(sequence, outbox_id), headers, stored_at=message.time
    )


async def _recorded(client: Client, profile: Profile, sequence: int) -> FoundEvent:
    """The event as the publisher's history has it."""
    async with replay(client, profile, FromSequence(sequence), until=sequence) as events:
        async for event in events:
            if event.sequence == sequence:
                return FoundEvent(*event, headers=None, stored_at=None)
    raise NotFound(f"sequence {sequence} is neither in stream {profile.event_stream} nor in the publisher's history")
