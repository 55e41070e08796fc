"""Databases with less than the outbox: what writes cost before there is an event, with the least of one, and with the
trigger that is written by hand where there is no registry of events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

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

BY_HAND_MORE = """
CREATE OR REPLACE FUNCTION write_old_and_new()
RETURNS trigger
LANGUAGE plpgsql
{rights}
AS $$
DECLARE
    changed CONSTANT jsonb := public.outbox_worktree_changes(OLD, NEW)
        || public.outbox_worktree_merge_changes(OLD, NEW)
        || public.outbox_change('agent_id', OLD.agent_id, NEW.agent_id)
        || public.outbox_worktree_git_changes(OLD, NEW);
BEGIN
    IF changed <> '{{}}' THEN
        INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
        SELECT
            'worktree', 'git_state_updated', NEW.project_id, NEW.id, {data}
        FROM (SELECT) AS one
        {joins};
    END IF;
    RETURN NULL;
END;
$$
"""
"""By hand, and what else an event is: each column compared, and so on."""
NEW_WITH_NAMES = """
CREATE OR REPLACE FUNCTION write_new()
RETURNS trigger
LANGUAGE plpgsql
{rights}
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    SELECT
        'activity', 'logged', w.project_id, NEW.id,
        to_jsonb(NEW) || jsonb_build_object('project', p.name, 'worktree', w.name)
    FROM (SELECT) AS one
    LEFT JOIN public.worktrees AS w ON w.id = NEW.worktree_id
    LEFT JOIN public.projects AS p ON p.id = w.project_id;
    RETURN NULL;
END;
$$
"""
"""An activity by hand, with the names of where it is."""
OLD_AND_NEW = "jsonb_build_object('old', changed, 'new', to_jsonb(NEW){names})"
NAMES = ", 'project', p.name, 'origin', p.remote_origin, 'type', t.name"
EVENT = "public.outbox_worktree_data(NEW, p.name, p.remote_origin, t.name, changed)"
JOINS = """
LEFT JOIN public.projects AS p ON p.id = NEW.project_id
LEFT JOIN public.worktree_types AS t ON t.id = NEW.type_id
"""
RIGHTS = """
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET enable_seqscan = off
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


def write_old_and_new_compared(
    conn: psycopg.Connection, *, has_names: bool = False, is_by_owner: bool = False, is_event: bool = False
) -> None:
    """The same, but of an updated row the columns alone that changed, if any; and what else is asked for."""
    write_old_and_new(conn)
    rights = RIGHTS if is_by_owner else ""
    data = EVENT if is_event else OLD_AND_NEW.format(names=NAMES if has_names else "")
    conn.execute(BY_HAND_MORE.format(data=data, joins=JOINS if has_names else "", rights=rights).encode())
    if has_names:
        conn.execute(NEW_WITH_NAMES.format(rights=rights).encode())


def run_file(conn: psycopg.Connection, name: str) -> None:
    """Another form of the triggers, out of the file of this folder."""
    conn.execute((Path(__file__).parent / name).read_bytes())


COMPARED, NAMED = "by hand, compared", "by hand, compared, with names"
OWNED = f"{NAMED}, by the owner"
SHAPED = f"{OWNED}, with the members of an event"
STEPS: dict[str, Callable[[psycopg.Connection], None]] = {
    COMPARED: write_old_and_new_compared,
    NAMED: partial(write_old_and_new_compared, has_names=True),
    OWNED: partial(write_old_and_new_compared, has_names=True, is_by_owner=True),
    SHAPED: partial(write_old_and_new_compared, has_names=True, is_by_owner=True, is_event=True),
}
"""From the trigger by hand to an event of one aspect; nothing is compared of a row that is inserted."""
OTHER_FORMS: dict[str, Callable[[psycopg.Connection], None]] = {
    "a trigger for each event, its aspect in WHEN": partial(run_file, name="when.sql"),
    "told by statement": partial(run_file, name="by_statement.sql"),
}
"""Of events of an update."""
