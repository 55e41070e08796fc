"""Databases with less than the outbox: what writes cost before there is an event, with the least of one, and with the
trigger that is written by hand where there is no registry of events."""

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
    VALUES ('worktree', 'git_state_updated', NEW.project_id, NEW.id, '{}');
    RETURN NULL;
END;
$$
"""

BY_HAND = """
DROP TRIGGER worktrees_outbox_update ON worktrees;
DROP TRIGGER agent_activities_outbox_insert ON agent_activities;

CREATE FUNCTION write_old_and_new()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO outbox (entity, action, project_id, entity_id, data)
    VALUES (
        'worktree', 'git_state_updated', NEW.project_id, NEW.id,
        jsonb_build_object('old', to_jsonb(OLD), 'new', to_jsonb(NEW))
    );
    RETURN NULL;
END;
$$;

CREATE TRIGGER write_old_and_new
    AFTER UPDATE ON worktrees
    FOR EACH ROW EXECUTE FUNCTION write_old_and_new();

CREATE FUNCTION write_new()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO outbox (entity, action, entity_id, data) VALUES ('activity', 'logged', NEW.id, to_jsonb(NEW));
    RETURN NULL;
END;
$$;

CREATE TRIGGER write_new
    AFTER INSERT ON agent_activities
    FOR EACH ROW EXECUTE FUNCTION write_new();
"""


def drop_event_triggers(conn: psycopg.Connection) -> None:
    """Drop the triggers that write events; those that hold the schema's rules stay."""
    for table, trigger in conn.execute(EVENT_TRIGGERS).fetchall():
        conn.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(trigger), sql.Identifier(table)))


def write_ids_alone(conn: psycopg.Connection) -> None:
    """An update of worktrees writes outbox rows with the ids and nothing else: no outbox costs less."""
    conn.execute(IDS_ALONE)


def write_old_and_new(conn: psycopg.Connection) -> None:
    """Each updated row of worktrees writes its old and new columns, each activity its own: not compared, without any
    name."""
    conn.execute(BY_HAND)
