"""What waits behind the rows that the relay has read, by project, and which transactions at its end could overtake it.

Few columns of each row, and of most only how many there are. Why the rules hold: docs/adr/0018-lane.md.
"""

from __future__ import annotations

from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from publisher.outbox.connection import translated
from publisher.outbox.ranges import RangeSet, multirange

MOST_ROWS = 20_000
"""Rows looked at in one go: some ten milliseconds, in which no page is read."""

# One statement, hence one snapshot: whatever a transaction had seen that this shows, this shows, too. The rows are
# counted by what `Waiting` tells them apart by, and those of transactions that lie behind `newest` come with their ids.
SCOUT = """
WITH news AS MATERIALIZED (
    SELECT *
    FROM (
        (
            SELECT inside.*
            FROM unnest(%(gaps)s::int8multirange) AS gap (range)
            CROSS JOIN LATERAL (
                SELECT id, transaction_id, project_id, entity, action, pg_column_size(data) AS data_bytes
                FROM public.outbox
                WHERE id >= lower(gap.range) AND id < upper(gap.range)
                ORDER BY id
                LIMIT %(limit)s
            ) AS inside
        )
        UNION ALL
        (
            SELECT id, transaction_id, project_id, entity, action, pg_column_size(data)
            FROM public.outbox
            WHERE id >= %(above)s
            ORDER BY id
            LIMIT %(limit)s
        )
    ) AS event
    ORDER BY id
    LIMIT %(limit)s
)
SELECT
    'ids',
    range_agg(int8range(id, id + 1)),
    NULL::bigint,
    max(transaction_id::text::bigint) + 1,
    NULL,
    NULL,
    NULL,
    count(*)
FROM news
UNION ALL
SELECT 'kind', NULL, max(id), NULL, project_id::text, left(entity, 101), left(action, 101), count(*)
FROM news
GROUP BY project_id, entity, action
UNION ALL
SELECT
    'newest', NULL, id, transaction_id::text::bigint, project_id::text, left(entity, 101), left(action, 101), data_bytes
FROM news
WHERE
    id >= %(newest)s
    AND transaction_id NOT IN (SELECT transaction_id FROM news WHERE id < %(newest)s)
"""


class Kind(NamedTuple):
    """What is looked at of an event."""

    project_id: str | None
    entity: str
    action: str


class Newest(NamedTuple):
    """A row of a transaction that was not visible before, and of which no row is older than the newest ids."""

    id: int
    transaction_id: int
    kind: Kind
    data_bytes: int


class News(NamedTuple):
    """What one snapshot shows of the outbox that was not known before."""

    ids: list[tuple[int, int]]
    """Of all rows, as half-open ranges."""
    kinds: dict[Kind, tuple[int, int]]
    """How many rows of each kind, the newest ones among them, and the highest id of those."""
    newest: list[Newest]
    """Ascending by id."""
    is_complete: bool
    """Whether that is everything the snapshot shows."""
    first_unseen: int
    """It shows no row of a transaction with this id or a higher one."""


async def scout(conn: AsyncConnection, known: RangeSet, newest: int) -> News:
    """Look at the visible rows of the outbox that are not `known`; those with ids from `newest` on one by one.

    Raises `Unavailable`.
    """
    values = {
        "gaps": multirange(known.gaps()),
        "above": Int8(known.upper),
        "newest": Int8(newest),
        "limit": Int8(MOST_ROWS),
    }
    news = News([], {}, [], is_complete=True, first_unseen=0)
    with translated():
        found = await (await conn.execute(SCOUT, values)).fetchall()
    for what, ids, id_, transaction_id, project_id, entity, action, number in found:
        kind = Kind(project_id, entity, action)
        if what == "kind":
            news.kinds[kind] = (number, id_)
        elif what == "newest":
            news.newest.append(Newest(id_, transaction_id, kind, number))
        else:
            ranges = [(part.lower, part.upper) for part in ids or ()]
            news = news._replace(ids=ranges, is_complete=number < MOST_ROWS, first_unseen=transaction_id or 0)
    news.newest.sort()
    return news
