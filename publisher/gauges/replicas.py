"""What the slots of replicas keep on this server's disk, and how far behind their replicas are."""

from __future__ import annotations

from collections.abc import Callable

from psycopg import AsyncConnection

from publisher.gauges.level import Level
from publisher.replica.publication import Slot, slots

LABEL = "slot"
FIGURES: dict[str, tuple[str, Callable[[Slot], float | None]]] = {
    "imi_replica_slot_active": ("1 while the replica of a slot reads it", lambda slot: float(slot.is_active)),
    "imi_replica_slot_lost": ("1 once the replica of a slot cannot go on", lambda slot: float(slot.is_lost)),
    "imi_replica_slot_kept_bytes": ("WAL that is kept for a slot", lambda slot: slot.kept_bytes),
    "imi_replica_slot_behind_bytes": ("WAL that its replica has not confirmed", lambda slot: slot.behind_bytes),
    "imi_replica_slot_left_bytes": ("WAL that may come before it is lost; absent: any", lambda slot: slot.left_bytes),
    "imi_replica_slot_lag_seconds": ("Lag that its replica told of last", lambda slot: slot.lag_seconds),
}


async def measure(conn: AsyncConnection) -> list[Level]:
    """The figures of each slot of a replica of this database. Raises `Unavailable`."""
    found = await slots(conn)
    return [
        Level(name, text, {slot.name: value for slot in found if (value := figure(slot)) is not None}, LABEL)
        for name, (text, figure) in FIGURES.items()
    ]
