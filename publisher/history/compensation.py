"""Compensation: events that tell consumers how the rows are of which phantoms told something else.

They go through the outbox, as all events do. Each is caused by the phantom: that is how a second run knows it is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, get_type_hints

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from publisher.history.phantoms import Phantom, phantoms_of
from publisher.history.standing import ACTOR, LAST, is_last, standing
from publisher.outbox.connection import connect, translated
from publisher.outbox.known import known_stream
from publisher.settings import Settings, profile_of
from registry import exact
from registry.broker.connection import connect_nats

LOCK = {
    "host": "SELECT FROM public.hosts AS h",
    "worktree_type": "SELECT FROM public.worktree_types AS t",
    "project": "SELECT FROM public.projects AS p",
    "project_host": "SELECT FROM public.project_hosts AS place",
    "worktree": "SELECT FROM public.worktrees AS w",
}
"""So that no change of a row that is under way gets an id below ours. Those first of which others are."""

ROW = {
    "host": """
        SELECT
            NULL::uuid AS project_id,
            h.id AS entity_id,
            nullif(h.id, public.default_host_id()) AS host_id,
            to_jsonb(h) - 'id' - 'machine' || jsonb_build_object('host_id', h.id) AS data
        FROM public.hosts AS h
    """,
    "worktree_type": """
        SELECT
            NULL::uuid AS project_id,
            NULL::uuid AS entity_id,
            NULL::uuid AS host_id,
            public.outbox_worktree_type_data(t, '{}') AS data
        FROM public.worktree_types AS t
    """,
    "project": """
        SELECT
            p.id AS project_id, p.id AS entity_id, NULL::uuid AS host_id, public.outbox_project_data(p, '{}') AS data
        FROM public.projects AS p
    """,
    "project_host": """
        SELECT
            place.project_id,
            place.project_id AS entity_id,
            nullif(place.host_id, public.default_host_id()) AS host_id,
            public.outbox_project_host_data(place, p, '{}') AS data
        FROM public.project_hosts AS place
        JOIN public.projects AS p ON p.id = place.project_id
    """,
    "worktree": """
        SELECT
            w.project_id,
            w.id AS entity_id,
            nullif(w.host_id, public.default_host_id()) AS host_id,
            public.outbox_worktree_data(w, p.name, p.remote_origin, t.name, '{}') AS data
        FROM public.worktrees AS w
        JOIN public.projects AS p ON p.id = w.project_id
        JOIN public.worktree_types AS t ON t.id = w.type_id
    """,
}
KEY = {
    "host": "h.id = %(id)s::uuid",
    "worktree_type": "t.id = %(id)s::int",
    "project": "p.id = %(id)s::uuid",
    "project_host": "concat_ws(' ', place.project_id, place.host_id) = %(id)s",
    "worktree": "w.id = %(id)s::uuid",
}
"""Which row a phantom is about."""
EMPTIED = {"worktree_types": ["worktree_type"], "projects": ["project", "project_host"], "worktrees": ["worktree"]}
"""Whose rows are gone with a table. Activities, too, are no rows that anything is told of once more."""

FIRST = {
    "host": "registered",
    "worktree_type": "added",
    "project": "registered",
    "project_host": "added",
    "worktree": "created",
}
AS_IT_IS = """
INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
SELECT
    %(entity)s,
    %(action)s,
    row.project_id,
    row.entity_id,
    row.host_id,
    row.data || jsonb_build_object('changed', (
        SELECT coalesce(jsonb_object_agg(key, value), '{}')
        FROM jsonb_each(%(told)s::jsonb)
        WHERE key = ANY(%(columns)s::text[]) AND row.data -> key IS DISTINCT FROM value
    ))
FROM (
"""
GONE = """
INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
VALUES (
    %(entity)s,
    %(action)s,
    %(project_id)s::uuid,
    %(entity_id)s::uuid,
    %(host_id)s::uuid,
    %(told)s::jsonb - 'loser' || '{"changed": {}}'
)
"""
# One by one, since a sequence that is set while writers take from it may hand out an id twice.
BEYOND = """
SELECT count(nextval('public.outbox_id_seq'))
FROM generate_series(
    coalesce(pg_sequence_last_value('public.outbox_id_seq'), 0) + 1,
    least(%(highest)s, coalesce(pg_sequence_last_value('public.outbox_id_seq'), 0) + %(most)s)
)
"""
MOST_PASSED = 10_000_000
"""Ids, some seconds. What is farther off was never one of this registry."""
CAUSE = "SELECT set_config('imi.causation_id', %s, true), set_config('imi.actor', %s, true)"


class Compensated(NamedTuple):
    """What was written for one phantom."""

    phantom: Phantom
    event: str
    """`entity.action` of the event that takes it back; empty where none can."""


async def run(settings: Settings, *, compensate: bool) -> tuple[list[Phantom], list[Compensated]]:
    """All phantoms, and what was written for them. Raises `NotFound` when there is no stream, `Unavailable`."""
    async with (
        connect(settings.database_url or "", ACTOR) as conn,
        connect_nats(settings.nats_url or "", ACTOR, settings.nats_access, reconnect=False) as client,
    ):
        known = await known_stream(conn, profile_of(settings).event_stream)
        found = await phantoms_of(conn, client, settings, known)
        return found, await write(conn, found) if compensate else []


async def write(conn: AsyncConnection, phantoms: Sequence[Phantom]) -> list[Compensated]:
    """Write the events that tell how things are, in one transaction. Raises `Unavailable`.

    Rows that are there first, those of a project behind it; then those that are not, the other way round. A database
    that never saw the phantoms hands out their ids again: these are passed, so that what is written has a higher
    `sequence` than what it takes back.
    """
    order = ["host", *EMPTIED, *ROW]
    left, lost, _ = await standing(conn, phantoms)
    left.sort(key=lambda one: order.index(one.row or "" if one.entity == "registry" else one.entity))
    gone: list[Phantom] = []
    written = [Compensated(phantom, "") for phantom in lost]
    with translated():
        async with conn.transaction():
            if left:
                highest = max(phantom.outbox_id for phantom in phantoms)
                await conn.execute(BEYOND, {"highest": Int8(highest), "most": Int8(MOST_PASSED)})
            for phantom in left:
                if event := await _tell(conn, phantom):
                    written.append(Compensated(phantom, event))
                else:
                    gone.append(phantom)
            for phantom in reversed(gone):
                written.append(await _tell_gone(conn, phantom))
    return written


async def _tell(conn: AsyncConnection, phantom: Phantom) -> str:
    """Tell rows as they are; returns `entity.action` of the first event, and nothing where there is no such row."""
    await conn.execute(CAUSE, [phantom.event_id, ACTOR])
    is_first = is_last(phantom, phantom.entity)
    told = exact.dumps({} if is_first else phantom.data or {}).decode()
    written = ""
    for entity, those in _rows(phantom):
        action = FIRST[entity] if is_first else "updated"
        values: dict[str, Any] = {"id": phantom.row, "entity": entity, "action": action, "told": told}
        await conn.execute(f"{LOCK[entity]} WHERE {those} FOR SHARE".encode(), values)
        query = f"{AS_IT_IS}{ROW[entity]} WHERE {those}) AS row"
        done = await conn.execute(query.encode(), values | {"columns": _columns(entity)})
        if done.rowcount and not written:
            written = f"{entity}.{action}"
    return written


def _rows(phantom: Phantom) -> list[tuple[str, str]]:
    """What to tell for it: entities, each with which of its rows."""
    if phantom.entity == "registry":
        return [(entity, "true") for entity in EMPTIED[phantom.row or ""]]
    rows = [(phantom.entity, KEY[phantom.entity])]
    if is_last(phantom, "project"):  # its places went with it, and nothing was told of them
        rows.append(("project_host", "place.project_id = %(id)s::uuid"))
    return rows


async def _tell_gone(conn: AsyncConnection, phantom: Phantom) -> Compensated:
    """Tell that there is no such row, with what was told of it."""
    if is_last(phantom, phantom.entity) or phantom.data is None:
        return Compensated(phantom, "")
    action = LAST[phantom.entity]
    is_type = phantom.entity == "worktree_type"
    values = {
        "entity": phantom.entity,
        "action": action,
        "project_id": phantom.project_id,
        "entity_id": None if is_type else phantom.entity_id,
        "host_id": phantom.host_id if "host_id" in phantom.data else None,  # else it is that of who wrote
        "told": exact.dumps(phantom.data).decode(),
    }
    await conn.execute(CAUSE, [phantom.event_id, ACTOR])
    await conn.execute(GONE, values)
    return Compensated(phantom, f"{phantom.entity}.{action}")


@cache
def _columns(entity: str) -> list[str]:
    """What `changed` may name."""
    # Here, since doctor, and with it serve, needs no model of an event.
    from registry.events.host import HostChanges
    from registry.events.project import ProjectChanges
    from registry.events.project_host import ProjectHostChanges
    from registry.events.worktree import WorktreeChanges
    from registry.events.worktree_type import WorktreeTypeChanges

    changes = {
        "host": HostChanges,
        "worktree_type": WorktreeTypeChanges,
        "project": ProjectChanges,
        "project_host": ProjectHostChanges,
        "worktree": WorktreeChanges,
    }
    return sorted(get_type_hints(changes[entity]))
