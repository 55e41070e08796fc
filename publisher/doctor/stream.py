"""What the stream holds, beside what was published into it."""

from __future__ import annotations

from collections import Counter

from nats.aio.client import Client
from nats.js import JetStreamContext
from psycopg import AsyncConnection

from publisher.doctor.findings import Finding
from publisher.history import phantoms
from publisher.history.shared_tail import SharedTail
from publisher.history.standing import standing
from publisher.outbox.known import Known
from publisher.settings import Settings
from publisher.stream.event_stream import REBUILD
from registry.broker.errors import translated_nats
from registry.errors import NotFound


async def stream_findings(
    conn: AsyncConnection, client: Client, settings: Settings, known: Known, tail: SharedTail
) -> list[Finding]:
    """Compare the stream with what was published into it; `tail` is of a shared one. Raises `Unavailable`."""
    jetstream = client.jetstream()
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
    unknown, foreign, is_all = await phantoms.unknown_sequences(
        conn, client, settings, known, state, phantoms.LOOKED_AT, tail
    )
    if known.is_fed and tail.position and not tail.is_at_end:
        findings.append(Finding(True, f"its events were compared with the outbox up to {tail.position} so far"))
    if foreign:
        number = foreign if is_all else f"at least {foreign}"
        findings.append(Finding(True, f"{number} messages in the stream are of somebody else; they disturb nothing"))
    if unknown:
        findings.append(await _phantoms(conn, jetstream, known.stream, unknown, is_all=is_all))
    return findings


async def _phantoms(
    conn: AsyncConnection, jetstream: JetStreamContext, stream: str, sequences: list[int], *, is_all: bool
) -> Finding:
    """What to say of events of a database that is gone: of all, or of the newest."""
    read = [await phantoms.read_phantom(jetstream, stream, sequence) for sequence in sequences]
    found = [phantom for phantom in read if phantom is not None]
    left, lost, taken_back = await standing(conn, found)
    kinds = Counter(f"{phantom.entity}.{phantom.action}" for phantom in found)
    number = len(sequences) if is_all else f"at least {len(sequences)}"
    told = (
        f"the stream holds {number} events, sequences {sequences[0]} to {sequences[-1]}, that this database does not: "
        f"it was restored to an older state ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})"
    )
    if left:
        return Finding(
            False,
            f"{told}; consumers have seen them, so restore a newer backup, or let imi-registry phantoms --compensate "
            "tell consumers how things are",
        )
    if lost:
        rows = ", ".join(f"{phantom.entity} {phantom.row}" for phantom in lost)
        return Finding(
            False,
            f"{told}; consumers believe of {rows} what was too large for a message, and no event can take that back, "
            "as they are not here",
            is_hindrance=False,
        )
    # They are taken back in one transaction: where one of the newest was, the older ones were, too.
    if is_all or taken_back:
        return Finding(True, f"{told}; what they told of rows was taken back or is so, or was of no row")
    older = "what these told is so, or was of no row, and imi-registry phantoms lists the older ones"
    return Finding(False, f"{told}; {older}", is_hindrance=False)
