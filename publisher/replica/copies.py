"""Copies of tables that can never be completed: PostgreSQL drops the slot of a copy before it commits that it is done.

Who is killed between the two has a copy that is to go on from a slot that is not there: docs/adr/0019-replica.md.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, LiteralString

from psycopg import AsyncConnection

from publisher.outbox.connection import translated
from publisher.replica.state import ReplicaState
from publisher.replica.subscription import Subscription

SURE_SECONDS = 2.0
"""Between the two a copy that is well is for some milliseconds."""
WITHOUT_SLOT: LiteralString = """
SELECT copied.relid
FROM unnest(%(relids)s::bigint[]) AS copied (relid)
WHERE NOT EXISTS (
    SELECT
    FROM pg_catalog.pg_replication_slots AS slot
    WHERE starts_with(slot.slot_name::text, format('pg_%%s_sync_%%s_', %(subscription)s::bigint, copied.relid))
)
"""


class LostCopies:
    """Looks for such copies again and again."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    async def look(self, source: AsyncConnection[Any], found: Subscription, state: ReplicaState) -> str | None:
        """What is to be done about those that have been so for a while; None where there are none.

        Raises `Unavailable`.
        """
        values = {"relids": list(found.half_copied), "subscription": found.oid}
        lost: list[int] = []
        if found.half_copied:
            with translated():
                lost = [relid for (relid,) in await (await source.execute(WITHOUT_SLOT, values)).fetchall()]
        now = monotonic()
        self._since = {relid: self._since.get(relid, now) for relid in lost}
        sure = [found.half_copied[relid] for relid, since in self._since.items() if now - since >= SURE_SECONDS]
        if not sure:
            return None
        return (
            f"the copy of {', '.join(sorted(sure))} was cut off where PostgreSQL cannot go on with it: imi-registry "
            f"replica drop, then replica create --replace, copies {state.source} anew"
        )

    @property
    def may_be(self) -> bool:
        """Whether there was one in the last look, though it may be one that is just being completed."""
        return bool(self._since)
