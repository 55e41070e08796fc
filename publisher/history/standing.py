"""What consumers believe after phantoms: what is still to be told to them, and what they were told already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from psycopg import AsyncConnection

from publisher.history.phantoms import Phantom
from publisher.outbox.connection import translated

ACTOR = "imi-registry phantoms"
"""Who takes phantoms back."""
LAST = {
    "registry": "truncated",
    "host": "removed",
    "worktree_type": "removed",
    "project": "deleted",
    "project_host": "removed",
    "worktree": "deleted",
}
THERE = {
    "registry": """
        SELECT name
        FROM (
            VALUES
                ('worktree_types', EXISTS (SELECT FROM public.worktree_types)),
                ('projects', EXISTS (SELECT FROM public.projects)),
                ('worktrees', EXISTS (SELECT FROM public.worktrees))
        ) AS emptied (name, is_there)
        WHERE is_there AND name = ANY(%s::text[])
    """,
    "host": "SELECT id::text FROM public.hosts WHERE id = ANY(%s::uuid[])",
    "worktree_type": "SELECT id::text FROM public.worktree_types WHERE id = ANY(%s::int[])",
    "project": "SELECT id::text FROM public.projects WHERE id = ANY(%s::uuid[])",
    "project_host": """
        SELECT concat_ws(' ', project_id, host_id)
        FROM public.project_hosts
        WHERE concat_ws(' ', project_id, host_id) = ANY(%s::text[])
    """,
    "worktree": "SELECT id::text FROM public.worktrees WHERE id = ANY(%s::uuid[])",
}
"""Which of these rows there are; of tables, which of these have any."""
DONE = "SELECT causation_id::text FROM public.outbox WHERE causation_id = ANY(%s::uuid[]) AND actor = %s"


class Standing(NamedTuple):
    """The last phantom of each row. What told that a row is gone is none of these where it is so."""

    left: list[Phantom]
    """Of which consumers still believe something else."""
    lost: list[Phantom]
    """Of these, too, but no event can tell them: the row is not here, and what was told of it was too large to be."""
    taken_back: list[Phantom]


async def standing(conn: AsyncConnection, phantoms: Sequence[Phantom]) -> Standing:
    """What consumers believe after phantoms. Raises `Unavailable`."""
    last = {(phantom.entity, phantom.row): phantom for phantom in phantoms if phantom.entity in THERE and phantom.row}
    there: set[str] = set()
    with translated():
        found = await conn.execute(DONE, [[phantom.event_id for phantom in last.values()], ACTOR])
        done = {row[0] for row in await found.fetchall()}
        for entity, query in THERE.items():
            asked = [
                one.row for one in last.values() if one.entity == entity and (one.data is None or is_last(one, entity))
            ]
            found = await conn.execute(query, [asked])
            there.update(row[0] for row in await found.fetchall())
    wrong = [
        one for one in last.values() if one.event_id not in done and (one.row in there or not is_last(one, one.entity))
    ]
    lost = [one for one in wrong if one.data is None and one.row not in there]
    taken_back = [one for one in last.values() if one.event_id in done]
    return Standing([one for one in wrong if one not in lost], lost, taken_back)


def is_last(phantom: Phantom, entity: str) -> bool:
    """Whether it told that a row of this entity, or all of a table, are gone."""
    return (phantom.entity, phantom.action) == (entity, LAST[entity])
