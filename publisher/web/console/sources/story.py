"""The story of one project or worktree: its events, newest first, and what it was like behind any of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, NamedTuple

from publisher.history import timeline
from publisher.history.timeline import DEATHS, change_of, state_of
from publisher.outbox import record
from publisher.web.console.sources.database import Connection, Database
from publisher.web.console.sources.lines import COLUMNS, SAID, SMALL, Line
from registry.errors import NotFound
from registry.events.filter import EventFilter
from registry.events.message import OutboxRow

MOST_EVENTS = 300
MOST_BYTES = 256 * 1024
"""Of a state that is shown."""

# No index leads to them: all of the outbox is looked through, within the time of a statement, and the data of those
# that are found alone is read.
EVENTS = f"""
SELECT {COLUMNS}, {SAID}
FROM (
    SELECT *
    FROM public.outbox AS event
    WHERE event.entity = %(entity)s AND event.entity_id = %(id)s::uuid
    ORDER BY event.id DESC
    LIMIT {MOST_EVENTS + 1}
) AS event
{SMALL}
ORDER BY event.id DESC
"""


@dataclass(frozen=True)
class Story:
    """What happened to one thing."""

    entity: str
    id: str
    lines: list[Line]
    """Newest first."""
    is_whole: bool
    """Whether these are all that are kept."""

    def at(self, time: datetime) -> Line | None:
        """The last event up to a time; None before the first."""
        later = list(takewhile(lambda line: line.occurred_at > time, self.lines))
        return self.lines[len(later)] if len(later) < len(self.lines) else None


class State(NamedTuple):
    """What it was like."""

    values: dict[str, Any] | None
    """None when it was deleted."""
    changed: dict[str, Any]
    """What the event that led there changed, with the values before."""


async def story_of(database: Database, entity: str, id_: str) -> Story:
    """The story of a `project` or `worktree`, also of one that is deleted. Raises `NotFound`, `Unavailable`."""
    lines = await database.rows(Line, EVENTS, {"entity": entity, "id": id_})
    if not lines:
        raise NotFound(f"no event of {entity} {id_} is kept")
    return Story(entity, id_, lines[:MOST_EVENTS], len(lines) <= MOST_EVENTS)


async def state_behind(database: Database, outbox_id: int) -> State:
    """What the thing of an event was like behind it. Raises `NotFound`, `Unavailable`."""
    row = await _row(database, outbox_id)
    if row is None or row.data is None:
        raise NotFound(f"the data of event {outbox_id} is not kept, cannot be read, or is too large to be shown")
    change = change_of(row)
    values = None if row.action in DEATHS else state_of(change.data)
    return State(values, {name: before for name, before, _ in change.fields})


async def nothing_before(database: Database, story: Story) -> str:
    """Why nothing is shown of a time before its first event. Raises `NotFound`, `Unavailable`."""
    if not story.is_whole:
        return f"the latest {MOST_EVENTS} events are shown; imi-registry history show tells of all"
    row = await _row(database, story.lines[-1].id)
    if row is None:
        raise NotFound(f"no event of {story.entity} {story.id} is kept")
    return timeline.nothing_before(story.entity, story.id, change_of(row))


async def _row(database: Database, outbox_id: int) -> OutboxRow | None:
    """One event; None where it is not kept."""

    async def read(conn: Connection) -> OutboxRow | None:
        rows = [row async for row in record.rows(conn, [outbox_id], EventFilter(), MOST_BYTES)]
        return rows[0] if rows else None

    return await database.ask(read)
