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

        Raises `NotFound` for a time before it was there, or before the history that is kept.
        """
        changes = [change for change in self.changes if change.data]
        if not changes:
            raise NotFound(f"no event of {self.entity} {self.id} that can be read is kept")
        before = list(takewhile(lambda change: change.time <= time, changes))
        if before:
            last = before[-1]
            return None if last.row.action in DEATHS else _state(last.data)
        first = changes[0]
        if first.row.action in BIRTHS:
            raise NotFound(f"{self.entity} {self.id} was not there before {first.time.isoformat()}")
        # All events of one transaction tell the row as it was after their statement: undo what they tell, last first.
        together = [change for change in changes if change.row.transaction_id == first.row.transaction_id]
        state = _state(together[-1].data)
        for change in reversed(together):
            state |= {name: before for name, before, _ in change.fields}
        return state


async def read(database_url: str, entity: str, entity_id: UUID) -> Timeline:
    """The timeline of a `project` or `worktree`, also of one that is deleted.

    Raises `NotFound` when no event of it is kept, `Unavailable`.
    """
    async with connect(database_url, "imi-registry history") as conn:
        rows = [row async for row in every_row(conn, EVENTS, {"entity": entity, "id": entity_id})]
    if not rows:
        raise NotFound(f"no event of {entity} {entity_id} is kept")
    return Timeline(entity, str(entity_id), [Change(row, _data(row)) for row in rows])


def _data(row: OutboxRow) -> dict[str, Any]:
    try:
        data = exact.loads(row.data or "{}")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _state(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "changed"}
