"""Commands as bytes, and what came of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg

ORIGIN = "git@github.com:a/p.git"
PROJECT = {"name": "p", "remote_origin": ORIGIN}
"""What `project.register` says of some project."""


def envelope(name: str, data: Any, **attributes: object) -> bytes:
    """A command as a component in any language would write it."""
    fixed = {"specversion": "1.0", "id": str(uuid4()), "source": "urn:test", "type": f"imi.{name}.v1", "data": data}
    return orjson.dumps(fixed | attributes)


def rows(database: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query finds."""
    with psycopg.connect(database, autocommit=True) as conn:
        return conn.execute(query.encode(), values).fetchall()


def outcome_events(database: str) -> list[tuple[UUID, str, UUID, str]]:
    """Command id, action, causation id and verdict of every outcome event, in order."""
    return rows(
        database,
        "SELECT entity_id, action, causation_id, data ->> 'verdict' FROM outbox WHERE entity = 'command' ORDER BY id",
    )
