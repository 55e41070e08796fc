"""Of a replica: of which registry, how old, why it does not follow. At a source: what the slots of replicas keep."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from psycopg import AsyncConnection

from publisher.doctor.findings import Finding
from publisher.replica.publication import AT_RISK, PUBLICATION, Slot, most_kept_bytes, published, slots
from publisher.replica.reason import errors_told, last_error, stopped_because
from publisher.replica.state import OLD_SECONDS, ReplicaState, read_state
from publisher.replica.subscription import read_subscription

MUCH_BYTES = 1024**3
"""What a replica that reads is not behind by."""


async def replica_findings(conn: AsyncConnection) -> list[Finding]:
    """How the replica is; nothing for a registry that is none. Raises `Unavailable`."""
    state = await read_state(conn)
    if state is None or not state.is_replica:
        return []
    whose = f"this registry is a replica of {state.source}"
    if not state.follows:
        return [Finding(False, f"{whose}, and follows it no longer; imi-registry replica create --replace, or promote")]
    found = await read_subscription(conn, state.slot)
    stopped = stopped_because(state, found)
    if stopped is not None:
        why = [errors_told(found), await last_error(conn, found)] if found is not None else []
        return [Finding(False, "; ".join(filter(None, [f"{whose}, and does not follow: {stopped}", *why])))]
    if found is not None and found.uncopied:
        return [Finding(False, f"{whose}, and the initial copy is under way: {found.copy_told}")]
    return [_age(state, whose)]


def _age(state: ReplicaState, whose: str) -> Finding:
    if state.age_seconds is None:
        return Finding(
            False, f"{whose}, and how old it is nobody has looked: imi-registry replica run does", is_hindrance=False
        )
    age = timedelta(seconds=round(max(state.age_seconds, 0)))
    text = f"{whose}, which had all that was committed {age} ago"
    if state.age_seconds <= OLD_SECONDS:
        return Finding(True, text)
    return Finding(False, f"{text}; does the source answer, and is imi-registry replica run there?")


async def slot_findings(conn: AsyncConnection) -> list[Finding]:
    """What is published to replicas, and what each slot keeps on this disk. Raises `Unavailable`."""
    there = await published(conn)
    found = await slots(conn)
    findings = []
    if there.is_there and not there.is_exact:
        differs = ", ".join([*(f"lacks {name}" for name in there.missing), *(f"has {name}" for name in there.more)])
        findings.append(
            Finding(
                False,
                f"publication {PUBLICATION} {differs}: replicas are not what this registry is; imi-registry replica "
                "publish, then set replicas up anew",
                is_hindrance=False,
            )
        )
    if found and await most_kept_bytes(conn) is None:
        findings.append(
            Finding(
                False,
                f"nothing bounds the WAL that is kept for {_names(found)} while their replicas are away, until the "
                "disk is full: ALTER SYSTEM SET max_slot_wal_keep_size = '10GB', then SELECT pg_reload_conf()",
                is_hindrance=False,
            )
        )
    return [*findings, *(finding for slot in found for finding in _slot(slot))]


def _names(found: list[Slot]) -> str:
    return ", ".join(slot.name for slot in found)


def _slot(slot: Slot) -> Iterator[Finding]:
    """Of one that is read, lost or soon to be; that nobody reads another one is told of all slots."""
    if slot.is_lost:
        yield Finding(
            False,
            f"replication slot {slot.name} is lost: more WAL was written than max_slot_wal_keep_size lets "
            "it keep, and its replica cannot go on; there: imi-registry replica drop, then replica create --replace",
            is_hindrance=False,
        )
    elif slot.wal_status == AT_RISK:
        yield Finding(
            False,
            f"replication slot {slot.name} is {AT_RISK}: more WAL was written than max_slot_wal_keep_size lets it "
            "keep; it is lost at the next checkpoint unless its replica catches up",
            is_hindrance=False,
        )
    elif slot.is_active and (slot.behind_bytes or 0) > MUCH_BYTES:
        left = "" if slot.left_bytes is None else f", {slot.left_bytes / 1e6:,.0f} MB before it is lost"
        yield Finding(
            False,
            f"the replica with slot {slot.name} is {(slot.behind_bytes or 0) / 1e6:,.0f} MB of WAL behind{left}: it "
            "applies more slowly than this registry is written",
            is_hindrance=False,
        )
