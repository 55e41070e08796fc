"""Databases with less than the outbox: what writes cost before there is an event, and with the least of one."""

from __future__ import annotations

import psycopg
from psycopg import sql

EVENT_TRIGGERS = r"""
SELECT tgrelid::regclass::text, tgname
FROM pg_trigger
WHERE NOT tgisinternal AND tgname LIKE '%\_outbox\_%'
"""

IDS_ALONE = """
CREATE OR REPLACE FUNCTION outbox_worktree_updated()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    SELECT 'worktree', 'git_state_updated', project_id, id, '{}'
    FROM new_rows;
    RETURN NULL;
END;
$$
"""


def drop_event_triggers(conn: psycopg.Connection) -> None:
    """Drop the triggers that write events; those that hold the schema's rules stay."""
    for table, trigger in conn.execute(EVENT_TRIGGERS).fetchall():
        conn.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(trigger), sql.Identifier(table)))


def write_ids_alone(conn: psycopg.Connection) -> None:
    """An update of worktrees writes outbox rows with the ids and nothing else: no outbox costs less."""
    conn.execute(IDS_ALONE)
