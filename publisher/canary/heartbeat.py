"""A heartbeat: how it is written, and where it is when it does not come back."""

from __future__ import annotations

from typing import NamedTuple

from nats.aio.client import Client
from psycopg import AsyncConnection

from publisher.outbox.connection import READER, translated
from registry.broker.errors import translated_nats
from registry.errors import NotFound, Unavailable
from registry.profiles.profile import Profile

ENTITY, ACTION = "registry", "heartbeat"
SESSION = READER + "SET lock_timeout = '5s'; SET synchronous_commit = on;"
"""A lock on the outbox is a reason, not something to wait for."""

WRITE = "SELECT outbox_id, event_id::text FROM public.registry_heartbeat(%(service)s)"

PLACE = """
SELECT
    EXISTS (SELECT FROM public.outbox WHERE id = %(id)s),
    coalesce(public.published_ids(cursor) @> %(id)s::bigint, false),
    cursor.leader,
    extract(epoch FROM clock_timestamp() - cursor.heartbeat_at)::float8,
    cursor.hindrance
FROM (SELECT %(stream)s AS stream) AS wanted
LEFT JOIN public.publisher_cursor AS cursor ON cursor.stream = wanted.stream
"""


class Heartbeat(NamedTuple):
    """One that was written."""

    outbox_id: int
    event_id: str
    written_at: float
    """By the clock of this process, in seconds: before it was written."""


def subject_of(profile: Profile) -> str:
    """What heartbeats are published on."""
    return profile.event_filter(ENTITY, ACTION, None)


async def write(conn: AsyncConnection, service: str, now: float) -> Heartbeat:
    """Write one, committed. Raises `Unavailable` saying that this is the stage at which it is stuck."""
    try:
        with translated():
            outbox_id, event_id = await (await conn.execute(WRITE, {"service": service})).fetchone() or (0, "")
    except Unavailable as error:
        raise Unavailable(f"it cannot be written: {error}") from error
    return Heartbeat(outbox_id, event_id, now)


async def stage(conn: AsyncConnection, client: Client, profile: Profile, beat: Heartbeat, seconds: float) -> str:
    """Where a heartbeat is that was written `seconds` ago, in a sentence. Raises `Unavailable`."""
    with translated():
        values = {"id": beat.outbox_id, "stream": profile.event_stream}
        row = await (await conn.execute(PLACE, values)).fetchone()
    is_there, is_published, leader, heard_seconds, hindrance = row or (False, False, None, 0.0, None)
    written = f"it was written {seconds:,.0f} s ago"
    if is_published:
        return f"{written} and published, and {await _in_stream(client, profile, beat)}"
    if not is_there:
        return f"{written} and is gone from the outbox: was the database restored?"
    if leader is None:
        return f"{written} and is not published: nobody ever published to stream {profile.event_stream}"
    said = f"; it said last: {hindrance}" if hindrance else ""
    return f"{written} and is not published: publisher {leader} was heard {heard_seconds:,.0f} s ago{said}"


async def _in_stream(client: Client, profile: Profile, beat: Heartbeat) -> str:
    stream = profile.event_stream
    try:
        with translated_nats(f"stream {stream} cannot be read"):
            last = await client.jetstream().get_msg(stream, subject=subject_of(profile).replace("*", "-"))
    except NotFound:
        return f"stream {stream} does not hold it: was the stream created anew?"
    except Unavailable as error:
        return str(error)
    outbox_id, _ = profile.identity(last.headers or {})
    if outbox_id is None or outbox_id < beat.outbox_id:
        return f"stream {stream} does not hold it: was the stream created anew?"
    return f"stands in stream {stream} at sequence {last.seq or 0}, which does not deliver it to its readers"
