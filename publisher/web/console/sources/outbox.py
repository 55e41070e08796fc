"""The outbox, newest first: some events at a time, and never more rows looked at than a page has time for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from publisher.web.console.sources.database import Database
from publisher.web.console.sources.lines import COLUMNS, SAID, SMALL, Line
from publisher.web.console.sources.wanted import CONDITION, Wanted
from registry.validation import shifted

PAGE_LINES = 50
LOOKED_AT = 10_000
"""Ids that are looked at for one page: the outbox has no index but that of its ids (docs/adr/0003)."""
SLACK = timedelta(minutes=10)
"""A transaction of this length may have committed events that are older than those of lower ids."""

LINES = f"""
SELECT {COLUMNS}, {SAID}
FROM (
    SELECT *
    FROM public.outbox AS event
    WHERE event.id < %(before)s AND event.id >= %(floor)s AND {CONDITION}
    ORDER BY event.id DESC
    LIMIT %(limit)s
) AS event
{SMALL}
ORDER BY event.id DESC
"""

SOME = f"""
SELECT {COLUMNS}, {SAID}
FROM public.outbox AS event
{SMALL}
WHERE event.id = ANY(%(ids)s::bigint[])
"""

# Ids ascend with time, or nearly: so halving finds one within twenty looks at the primary key.
PLACE = """
WITH RECURSIVE ends AS (
    SELECT coalesce(min(id), 1) AS low, coalesce(max(id), 0) + 1 AS high
    FROM public.outbox
), halved AS (
    SELECT low, high
    FROM ends
    UNION ALL
    SELECT
        CASE WHEN probe.occurred_at < %(time)s THEN middle.id + 1 ELSE halved.low END,
        CASE WHEN probe.occurred_at < %(time)s THEN halved.high ELSE middle.id END
    FROM halved
    CROSS JOIN LATERAL (SELECT (halved.low + halved.high) / 2 AS id) AS middle
    LEFT JOIN LATERAL (
        SELECT occurred_at FROM public.outbox WHERE outbox.id >= middle.id ORDER BY outbox.id LIMIT 1
    ) AS probe ON true
    WHERE halved.low < halved.high
)
SELECT max(low) AS id
FROM halved
"""

HOSTS = """
(SELECT name FROM public.hosts ORDER BY name LIMIT %(limit)s)
UNION
SELECT name FROM public.hosts WHERE name = %(wanted)s
ORDER BY name
"""
MOST_HOSTS = 500

ENDS = """
SELECT
    coalesce((SELECT min(id) FROM public.outbox), 0) AS first,
    coalesce((SELECT max(id) FROM public.outbox), 0) AS last,
    coalesce(
        (SELECT upper(public.published_ids(cursor)) FROM public.publisher_cursor AS cursor WHERE stream = %(stream)s), 1
    ) AS unpublished,
    coalesce((SELECT stream_sequence FROM public.publisher_cursor WHERE stream = %(stream)s), 0) AS sequence
"""


class Ends(NamedTuple):
    """Ids between which the outbox lies."""

    first: int
    last: int
    unpublished: int
    """The lowest id of which none above is published."""
    sequence: int
    """Of the last event in the stream."""


class Page(NamedTuple):
    """Some events, newest first."""

    lines: list[Line]
    looked_from: int
    """The highest id that was looked at, and below it the lowest."""
    looked_to: int
    next: int | None
    """Ask for those before this id to go on; None at the end of what is kept."""
    ends: Ends


async def page_of(database: Database, stream: str, wanted: Wanted, before: int | None) -> Page:
    """The newest events that are wanted, of ids below `before` where it is given. Raises `RegistryError`."""
    ends = await ends_of(database, stream)
    before = min(before or ends.last + 1, ends.last + 1)
    if wanted.until is not None:
        before = min(before, await place_of(database, shifted(wanted.until, SLACK)))
    lowest = ends.first
    if wanted.since is not None:
        lowest = max(lowest, await place_of(database, shifted(wanted.since, -SLACK)))
    floor = max(lowest, before - LOOKED_AT)
    values = wanted.values() | {"before": before, "floor": floor, "limit": PAGE_LINES + 1}
    lines = await database.rows(Line, LINES, values)
    if len(lines) > PAGE_LINES:
        lines = lines[:PAGE_LINES]
        return Page(lines, before - 1, lines[-1].id, lines[-1].id, ends)
    return Page(lines, before - 1, floor, floor if floor > lowest else None, ends)


async def ends_of(database: Database, stream: str) -> Ends:
    """Where the outbox lies, and how far it is published to `stream`."""
    return await database.row(Ends, ENDS, {"stream": stream}) or Ends(0, 0, 1, 0)


async def lines_of(database: Database, ids: list[int]) -> dict[int, Line]:
    """The events of these ids, as far as they are kept."""
    found = await database.rows(Line, SOME, {"ids": ids})
    return {line.id: line for line in found}


async def host_names(database: Database, wanted: str | None) -> list[str]:
    """Names of the hosts, to choose from, the first `MOST_HOSTS` of them; and that of the one that is `wanted`."""
    values = {"limit": MOST_HOSTS, "wanted": wanted}
    return [host.name for host in await database.rows(_Name, HOSTS, values)]


async def place_of(database: Database, time: datetime) -> int:
    """The first id of an event that occurred at `time` or later, or nearly."""
    found = await database.row(_Id, PLACE, {"time": time})
    return found.id if found is not None else 1


class _Id(NamedTuple):
    id: int


class _Name(NamedTuple):
    name: str
