"""What a database knows of itself as a replica: of which registry, since when, how old."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from publisher.outbox.connection import translated
from publisher.text import visible

OLD_SECONDS = 60.0
"""A replica that may lack what was committed so long ago is not ready."""
ANEW = "imi-registry replica drop here, then replica create --replace, follows anew"
"""What a replica that follows and cannot go on is told; `drop` takes its slot at the source along."""

STATE = """
SELECT
    r.name, r.slot, r.registry_id, r.epoch, m.migration, r.began_at, r.copied_at, r.known_at, r.behind_bytes,
    r.stopped_at, r.promoted_at, extract(epoch FROM clock_timestamp() - r.known_at)::float8
FROM public.replica_source AS r
CROSS JOIN public.registry_metadata AS m
"""


class ReplicaState(NamedTuple):
    """The row of `replica_source`, whose columns are explained there."""

    name: str
    slot: str
    registry_id: UUID
    epoch: int
    migration: int
    """The last one here."""
    began_at: datetime
    copied_at: datetime | None
    known_at: datetime | None
    behind_bytes: int | None
    stopped_at: datetime | None
    promoted_at: datetime | None
    age_seconds: float | None
    """Since when it may lack something; None while it is not known to have had everything."""

    @property
    def source(self) -> str:
        """What the source is called, as it may be shown."""
        return visible(self.name)

    @property
    def is_replica(self) -> bool:
        """Whether it still is one, though it may follow no longer."""
        return self.promoted_at is None

    @property
    def follows(self) -> bool:
        """Whether the source's changes are to come here."""
        return self.is_replica and self.stopped_at is None


async def read_state(conn: AsyncConnection[Any]) -> ReplicaState | None:
    """The state of a replica, also of one that was promoted; None of an ordinary registry. Raises `Unavailable`."""
    with translated():
        row = await (await conn.execute(STATE)).fetchone()
    return None if row is None else ReplicaState(*row)
