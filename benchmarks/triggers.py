"""A database without the outbox: what writes cost before there is an event."""

from __future__ import annotations

import psycopg
from psycopg import sql

EVENT_TRIGGERS = r"""
SELECT tgrelid::regclass::text, tgname
FROM pg_trigger
WHERE NOT tgisinternal AND tgname LIKE '%\_outbox\_%'
"""


def drop_event_triggers(conn: psycopg.Connection) -> None:
    """Drop the triggers that write events; those that hold the schema's rules stay."""
    for table, trigger in conn.execute(EVENT_TRIGGERS).fetchall():
        conn.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(trigger), sql.Identifier(table)))
