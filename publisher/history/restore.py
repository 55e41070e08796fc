"""The tables as the events in the outbox tell them, written into an empty registry, without new events."""

from __future__ import annotations

from psycopg import AsyncConnection, sql

# A time beyond what the tables take, of a row that is older than their rule, is stored as the nearest one that they do.
NEAREST_TIMES = """
    (
        SELECT coalesce(
            jsonb_object_agg(
                name,
                least(greatest(time::timestamptz, '0001-01-01 00:00:00+00'), '9999-12-31 23:59:59.999999+00')
            ),
            '{}'
        )
        FROM jsonb_each_text(data) AS member (name, time)
        WHERE name IN ('created_at', 'updated_at', 'last_sync_at', 'merged_at') AND time IS NOT NULL
    )
"""

TABLES = ("hosts", "project_hosts", "worktree_types", "projects", "worktrees", "agent_activities")

EXPECTED_TYPES = f"""
SELECT
    (
        jsonb_populate_record(
            NULL::public.worktree_types,
            last.data || {NEAREST_TIMES} || jsonb_build_object('id', last.data -> 'type_id')
        )
    ).*
FROM (
    SELECT DISTINCT ON (data -> 'type_id') id, action, data
    FROM public.outbox
    WHERE entity = 'worktree_type' AND jsonb_typeof(data -> 'type_id') = 'number'
    ORDER BY data -> 'type_id', id DESC
) AS last
WHERE last.action <> 'removed'
    AND last.id > coalesce(
        (SELECT max(id) FROM public.outbox WHERE entity = 'registry' AND data ->> 'table' = 'worktree_types'), 0
    )
"""  # noqa: S608  # a constant

# Of hosts whose own events are no longer kept, the name that the last event of a place on one tells, where it is free.
NAMED = """
    SELECT DISTINCT ON (last.name) last.host_id, last.name
    FROM (
        SELECT DISTINCT ON (data ->> 'host_id') id, (data ->> 'host_id')::uuid AS host_id, data ->> 'host' AS name
        FROM public.outbox
        WHERE entity = 'project_host' AND data ->> 'host' IS NOT NULL
            AND data ->> 'host_id' = coalesce(host_id, public.default_host_id())::text
        ORDER BY data ->> 'host_id', id DESC
    ) AS last
    WHERE NOT EXISTS (SELECT FROM public.outbox WHERE entity = 'host' AND data ->> 'host_id' = last.host_id::text)
        AND NOT EXISTS (
            SELECT FROM public.hosts AS known WHERE last.name = known.name OR last.name = ANY(known.former_names)
        )
    ORDER BY last.name, last.id DESC
"""

# The last event of a row has the whole row; one that somebody made by hand and that tells of no row is passed over.
# TRUNCATE ends all rows that were there before it. Built-in types are in a new registry already: those that events tell
# of give way to them, since they may have other ids.
STATEMENTS = (
    f"""
    DELETE FROM public.worktree_types AS seeded
    USING ({EXPECTED_TYPES}) AS expected
    WHERE seeded.id = expected.id OR seeded.name = expected.name
    """,  # noqa: S608  # a constant
    f"INSERT INTO public.worktree_types {EXPECTED_TYPES}",
    f"""
    INSERT INTO public.projects
    SELECT (
        jsonb_populate_record(
            NULL::public.projects, last.data || {NEAREST_TIMES} || jsonb_build_object('id', last.entity_id)
        )
    ).*
    FROM (
        SELECT DISTINCT ON (entity_id) id, action, data, entity_id
        FROM public.outbox
        WHERE entity = 'project' AND data ->> 'project_id' = entity_id::text
        ORDER BY entity_id, id DESC
    ) AS last
    WHERE last.action <> 'deleted'
        AND last.id > coalesce(
            (SELECT max(id) FROM public.outbox WHERE entity = 'registry' AND data ->> 'table' = 'projects'), 0
        )
    """,  # noqa: S608  # a constant
    # Merges are made one at a time, so in the order of their ids.
    """
    SELECT public.call_project((data #>> '{loser,project_id}')::uuid, entity_id)
    FROM public.outbox
    WHERE entity = 'project' AND action = 'merged' AND data ->> 'project_id' = entity_id::text
        AND data #>> '{loser,project_id}' <> entity_id::text
    ORDER BY id
    """,
    """
    INSERT INTO public.hosts (id, name, former_names, description, created_at, updated_at)
    SELECT
        entity_id, data ->> 'name', ARRAY(SELECT jsonb_array_elements_text(data -> 'former_names')),
        data ->> 'description', (data ->> 'created_at')::timestamptz, (data ->> 'updated_at')::timestamptz
    FROM (
        SELECT DISTINCT ON (entity_id) action, data, entity_id
        FROM public.outbox
        WHERE entity = 'host' AND data ->> 'host_id' = entity_id::text
        ORDER BY entity_id, id DESC
    ) AS last
    WHERE action <> 'removed'
    ON CONFLICT (id) DO UPDATE
    SET name = excluded.name, former_names = excluded.former_names, description = excluded.description
    """,
    f"""
    UPDATE public.hosts AS seeded
    SET name = named.name
    FROM ({NAMED}) AS named
    WHERE seeded.id = named.host_id
    """,  # noqa: S608  # a constant
    f"""
    INSERT INTO public.worktrees
    SELECT (
        jsonb_populate_record(
            NULL::public.worktrees,
            jsonb_build_object('host_id', public.default_host_id()) || last.data || {NEAREST_TIMES}
                || jsonb_build_object('id', last.entity_id)
        )
    ).*
    FROM (
        SELECT DISTINCT ON (entity_id) id, action, data, entity_id
        FROM public.outbox
        WHERE entity = 'worktree' AND data ->> 'worktree_id' = entity_id::text
        ORDER BY entity_id, id DESC
    ) AS last
    WHERE last.action <> 'deleted'
        AND last.id > coalesce(
            (SELECT max(id) FROM public.outbox WHERE entity = 'registry' AND data ->> 'table' = 'worktrees'), 0
        )
        AND EXISTS (SELECT FROM public.projects AS project WHERE project.id::text = last.data ->> 'project_id')
        AND EXISTS (SELECT FROM public.worktree_types AS type WHERE type.id::text = last.data ->> 'type_id')
    """,  # noqa: S608  # a constant
    # Hosts that no event names are called by their id; those on which nothing is stay away.
    f"""
    WITH place AS (
        SELECT
            project_id, host_id, CASE WHEN data ->> 'is_home' = 'false' THEN data ->> 'trunk_path' END AS trunk_path,
            (data ->> 'created_at')::timestamptz AS created_at, (data ->> 'updated_at')::timestamptz AS updated_at
        FROM (
            SELECT DISTINCT ON (entity_id, data ->> 'host_id')
                action, data, entity_id AS project_id, coalesce(host_id, public.default_host_id()) AS host_id
            FROM public.outbox
            LEFT JOIN (
                SELECT entity_id, max(id) AS last_id
                FROM public.outbox
                WHERE entity = 'project' AND action = 'deleted'
                GROUP BY entity_id
            ) AS gone USING (entity_id)    -- its places went with it, which nothing tells
            WHERE entity = 'project_host' AND data ->> 'project_id' = entity_id::text
                AND data ->> 'host_id' = coalesce(host_id, public.default_host_id())::text
                AND id > coalesce(gone.last_id, 0)
                AND id > coalesce(
                    (SELECT max(id) FROM public.outbox WHERE entity = 'registry' AND data ->> 'table' = 'projects'), 0
                )
            ORDER BY entity_id, data ->> 'host_id', id DESC
        ) AS last
        WHERE last.action <> 'removed'
            AND EXISTS (SELECT FROM public.projects AS project WHERE project.id = last.project_id)
    ),
    unnamed AS (
        INSERT INTO public.hosts (id, name)
        SELECT host_id, coalesce(named.name, 'host-' || host_id)
        FROM (SELECT host_id FROM place UNION SELECT host_id FROM public.worktrees) AS needed
        LEFT JOIN ({NAMED}) AS named USING (host_id)
        WHERE NOT EXISTS (SELECT FROM public.hosts AS known WHERE known.id = needed.host_id)
    )
    INSERT INTO public.project_hosts (project_id, host_id, trunk_path, created_at, updated_at)
    SELECT project_id, host_id, trunk_path, created_at, updated_at
    FROM place
    """,  # noqa: S608  # a constant
    f"""
    INSERT INTO public.agent_activities
    SELECT (
        jsonb_populate_record(
            NULL::public.agent_activities, data || {NEAREST_TIMES} || jsonb_build_object('id', entity_id)
        )
    ).*
    FROM public.outbox
    WHERE entity = 'activity' AND data ->> 'activity_id' = entity_id::text
        AND id > coalesce(
            (SELECT max(id) FROM public.outbox WHERE entity = 'registry' AND data ->> 'table' = 'agent_activities'), 0
        )
    """,  # noqa: S608  # a constant
    """
    INSERT INTO public.deleted_worktrees (
        id, project_id, project_name, remote_origin, type_name, name, branch_name, path, deleted_at, host_id
    )
    SELECT
        entity_id, public.current_project_id(project_id), data ->> 'project_name', data ->> 'remote_origin',
        data ->> 'type', data ->> 'name', data ->> 'branch_name', data ->> 'path', occurred_at,
        coalesce(host_id, public.default_host_id())
    FROM public.outbox
    WHERE entity = 'worktree' AND action = 'deleted' AND data ->> 'worktree_id' = entity_id::text
    ORDER BY id
    ON CONFLICT (id) DO NOTHING
    """,
    "SELECT setval('public.worktree_types_id_seq', (SELECT max(id) FROM public.worktree_types))",
    "SELECT public.seed_worktree_types()",
)


async def restore_tables(conn: AsyncConnection) -> None:
    """Fill the tables from the outbox, in the caller's transaction, with their triggers off.

    Activities that their own retention had removed come back, as far as their events are kept.
    """
    for table in TABLES:
        await conn.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(sql.Identifier("public", table)))
    for statement in STATEMENTS:
        await conn.execute(statement)
    for table in TABLES:
        await conn.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(sql.Identifier("public", table)))
    await conn.execute("CALL public.recount_registry()")
