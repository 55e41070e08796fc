"""The history of one project or worktree, out of the outbox: what changed, and what it was like at any time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, NamedTuple
from uuid import UUID

from publisher.outbox.connection import connect
from publisher.outbox.record import every_row
from registry import exact
from registry.errors import NotFound
from registry.events.message import OutboxRow

# One thing's events are spread over the whole outbox, which has no index for them: writers would pay for it.
EVENTS = """
SELECT id
FROM public.outbox
WHERE id > %(after)s AND entity_id = %(id)s AND entity = %(entity)s
ORDER BY id
LIMIT %(limit)s
"""

BIRTHS = {"registered", "created"}
DEATHS = {"deleted"}
NOT_OF_THE_ROW = {"changed", "loser", "backfill"}


class Change(NamedTuple):
    """One event of a timeline."""

    row: OutboxRow
    data: dict[str, Any]
    """Empty when it cannot be read."""

    @property
    def time(self) -> datetime:
        """When it happened."""
        return datetime.fromisoformat(self.row.occurred_at)

    @property
    def fields(self) -> Iterator[tuple[str, Any, Any]]:
        """Each changed field with its value before and after."""
        changed = self.data.get("changed")
        for name, before in changed.items() if isinstance(changed, dict) else ():
            yield name, before, self.data.get(name)


@dataclass(frozen=True)
class Timeline:
    """Every change of one thing that is kept, oldest first."""

    entity: str
    id: str
    changes: list[Change]

    def as_of(self, time: datetime) -> dict[str, Any] | None:
        """Its fields at that time; None when it was deleted by then.

        Raises `NotFound` for a time before it was there, or before the history that is kept, and where the event that
        tells cannot be read.
        """
        before = list(takewhile(lambda change: change.time <= time, self.changes))
        if not before:
            raise NotFound(nothing_before(self.entity, self.id, self.changes[0]))
        last = before[-1]
        if last.row.action in DEATHS:
            return None
        if not last.data:
            raise NotFound(
                f"the data of event {last.row.id}, which tells what {self.entity} {self.id} was, is not kept"
            )
        return state_of(last.data)


async def read(database_url: str, entity: str, entity_id: UUID) -> Timeline:
    """The timeline of a `project` or `worktree`, also of one that is deleted.

    Raises `NotFound` when no event of it is kept, `Unavailable`.
    """
    async with connect(database_url, "imi-registry history") as conn:
        rows = [row async for row in every_row(conn, EVENTS, {"entity": entity, "id": entity_id})]
    if not rows:
        raise NotFound(f"no event of {entity} {entity_id} is kept")
    return Timeline(entity, str(entity_id), [change_of(row) for row in rows])


def nothing_before(entity: str, id_: str, first: Change) -> str:
    """Why it is not known what a thing was before the first event that is kept of it."""
    since, loser = first.time.isoformat(), first.data.get("loser")
    if isinstance(loser, dict) and loser.get("remote_origin") == first.data.get("remote_origin"):
        return f"{entity} {id_} was {entity} {loser.get('project_id')} before {since}"
    if first.row.action in BIRTHS and first.data and "backfill" not in first.data:
        return f"{entity} {id_} was not there before {since}"
    return f"what {entity} {id_} was before {since} is not kept"


def change_of(row: OutboxRow) -> Change:
    """An event of the outbox, with its data read."""
    return Change(row, _data(row))


def _data(row: OutboxRow) -> dict[str, Any]:
    try:
        data = exact.loads(row.data or "{}")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def state_of(data: dict[str, Any]) -> dict[str, Any]:
    """The row that an event tells."""
    return {name: value for name, value in data.items() if name not in NOT_OF_THE_ROW}
