"""What a database knows of itself as a mirror: of which registry, how far, how old."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from publisher.outbox.connection import translated
from publisher.text import visible

OLD_SECONDS = 60.0
"""A mirror that may lack what was published so long ago is not ready."""

STATE = """
SELECT
    name, stream, began_at, promoted_at, registry_id, life, epoch, position, sequence, event_id, event_at, known_at,
    events, snapshots, snapshot_at, snapshot_reason,
    extract(epoch FROM clock_timestamp() - known_at)::float8
FROM public.mirror_source
"""


class MirrorState(NamedTuple):
    """The row of `mirror_source`, whose columns are explained there."""

    name: str
    stream: str
    began_at: datetime
    promoted_at: datetime | None
    registry_id: UUID | None
    life: str | None
    epoch: int
    position: str
    sequence: int
    event_id: UUID | None
    event_at: datetime | None
    known_at: datetime | None
    events: int
    snapshots: int
    snapshot_at: datetime | None
    snapshot_reason: str | None
    age_seconds: float | None
    """Since when it may lack something; None while it has never had everything."""

    @property
    def source(self) -> str:
        """What the source is called, as it may be shown."""
        return visible(self.name)

    @property
    def is_mirror(self) -> bool:
        """Whether it still is one."""
        return self.promoted_at is None


async def read_state(conn: AsyncConnection[Any]) -> MirrorState | None:
    """The state of a mirror, also of one that was promoted; None of an ordinary registry. Raises `Unavailable`."""
    with translated():
        row = await (await conn.execute(STATE)).fetchone()
    return None if row is None else MirrorState(*row)
