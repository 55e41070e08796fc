"""What the stream holds, beside what was published into it."""

from __future__ import annotations

from nats.aio.client import Client
from nats.js import JetStreamContext
from psycopg import AsyncConnection

from publisher.doctor.findings import Finding
from publisher.outbox.connection import translated
from publisher.outbox.known import Known
from publisher.outbox.rows import known_events
from publisher.settings import Settings, profile_of
from publisher.stream.event_stream import REBUILD
from publisher.stream.shared_stream import SharedStream
from registry.broker.errors import translated_nats
from registry.errors import NotFound
from registry.profiles.profile import Profile

LOOKED_AT = 1000
"""Messages that are not recorded are looked at one by one, up to so many."""
TAIL_LOOKED_AT = 100_000
"""In a shared stream holes tell nothing: the headers of ours among its last so many messages do."""

# Where the record has a hole, a message of somebody else stands in the stream, or an event of a lost database.
HOLES = """
SELECT first_sequence, last_sequence
FROM (
    SELECT
        coalesce(lag(batch.last_sequence) OVER (ORDER BY batch.last_sequence), cursor.forgotten_sequence) + 1
            AS first_sequence,
        batch.last_sequence - (SELECT sum(upper(part) - lower(part)) FROM unnest(batch.ids) AS part)::bigint
            AS last_sequence
    FROM public.publisher_cursor AS cursor
    JOIN public.published_batch AS batch ON batch.stream = cursor.stream
    WHERE cursor.stream = %(stream)s
    UNION ALL
    SELECT
        greatest(
            cursor.forgotten_sequence,
            (SELECT max(last_sequence) FROM public.published_batch WHERE stream = cursor.stream)
        ) + 1,
        cursor.stream_sequence
    FROM public.publisher_cursor AS cursor
    WHERE cursor.stream = %(stream)s
) AS hole
WHERE first_sequence <= last_sequence
ORDER BY first_sequence
LIMIT 100
"""


async def stream_findings(conn: AsyncConnection, client: Client, settings: Settings, known: Known) -> list[Finding]:
    """Compare the stream with what was published into it. Raises `Unavailable`."""
    jetstream, profile = client.jetstream(), profile_of(settings)
    try:
        with translated_nats(f"cannot read stream {known.stream}"):
            state = (await jetstream.stream_info(known.stream)).state
    except NotFound:
        return [Finding(False, f"stream {known.stream} is gone: stop up or serve, then {REBUILD}")]
    if state.last_seq < known.last:
        return [
            Finding(
                False,
                f"stream {known.stream} ends at sequence {state.last_seq}, but {known.last} was published into it: it "
                f"was created anew or restored from an older backup; stop up or serve, then {REBUILD}",
            )
        ]
    findings = [Finding(True, f"stream {known.stream} ends at sequence {state.last_seq}, as it should")]
    if state.first_seq > 1:
        kept = known.forgotten + 1
        findings.append(
            Finding(True, f"the stream begins at {state.first_seq}; events from {kept} on come from the database")
        )
    if profile.is_shared:
        after = max(known.forgotten, state.last_seq - TAIL_LOOKED_AT)
        unknown = await _unknown_in_tail(conn, SharedStream(client, profile, settings), after)
        foreign = 0
    else:
        unknown, foreign = await _unrecorded(conn, jetstream, profile, known, state.first_seq, state.last_seq)
    if foreign:
        findings.append(Finding(True, f"{foreign} messages in the stream are of somebody else; they disturb nothing"))
    if unknown:
        findings.append(
            Finding(
                False,
                f"the stream holds {len(unknown)} events, sequences {unknown[0]} to {unknown[-1]}, that this database "
                "does not: it was restored to an older state; consumers have seen them, so restore a newer backup, or "
                "make the changes again and let consumers start from a snapshot",
            )
        )
    return findings


async def _unknown_in_tail(conn: AsyncConnection, stream: SharedStream, after: int) -> list[int]:
    """Sequences of the messages behind `after` that are marked as ours and that the outbox does not hold."""
    unknown: list[int] = []
    async for page in stream.tail(after):
        ours = [
            (message.outbox_id, message.event_id)
            for message in page
            if message.outbox_id is not None and message.event_id is not None
        ]
        known = await known_events(conn, ours)
        unknown += [
            message.sequence for message in page if message.event_id is not None and message.event_id not in known
        ]
    return unknown


async def _unrecorded(
    conn: AsyncConnection, jetstream: JetStreamContext, profile: Profile, known: Known, first: int, last: int
) -> tuple[list[int], int]:
    """Messages that the record does not name: sequences of events of a lost database, and how many are of nobody."""
    with translated():
        holes = await (await conn.execute(HOLES, {"stream": known.stream})).fetchall()
    unrecorded = [sequence for low, high in holes for sequence in range(max(low, first), high + 1)]
    unrecorded += range(max(known.last + 1, first), last + 1)
    unknown: list[int] = []
    foreign = 0
    for sequence in unrecorded[:LOOKED_AT]:
        try:
            with translated_nats(f"cannot read stream {known.stream}"):
                message = await jetstream.get_msg(known.stream, sequence)
        except NotFound:
            continue
        outbox_id, event_id = profile.identity(message.headers or {})
        if outbox_id is None or event_id is None:
            foreign += 1
        elif not await known_events(conn, [(outbox_id, event_id)]):
            unknown.append(sequence)
    return unknown, foreign
