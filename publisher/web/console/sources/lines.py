"""Events as lines of a list: what each says in few words, read in few bytes whatever is in them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

NO_NEWS = {"updated_at", "last_sync_at"}
"""Fields that change with every other one."""
SMALL_BYTES = 16 * 1024
"""Of a row with more data than this the list shows the columns alone."""

# Of a row `event`; a subquery with OFFSET 0 takes its data apart once.
COLUMNS = """
    event.id,
    event.event_id::text AS event_id,
    left(event.entity, 100) AS entity,
    left(event.action, 100) AS action,
    event.project_id::text AS project_id,
    event.entity_id::text AS entity_id,
    event.occurred_at,
    event.actor,
    coalesce(event.correlation_id, event.event_id)::text AS correlation_id,
    event.causation_id::text AS causation_id,
    (SELECT h.name FROM public.hosts AS h WHERE h.id = coalesce(event.host_id, public.default_host_id())) AS host,
    event.host_id IS NOT NULL AS is_elsewhere
"""

SAID = """
    left(small.data ->> 'project_name', 200) AS project_name,
    left(
        CASE
            WHEN event.entity = 'command' THEN small.data ->> 'type'
            ELSE coalesce(small.data ->> 'worktree_name', small.data ->> 'name', small.data ->> 'table')
        END,
        200
    ) AS name,
    left(small.data ->> 'agent_id', 512) AS agent_id,
    left(small.data -> 'changed' ->> 'agent_id', 512) AS agent_before,
    small.data ->> 'worktree_id' AS worktree_id,
    left(coalesce(small.data ->> 'description', small.data ->> 'message', ''), 200) AS text,
    CASE
        WHEN jsonb_typeof(small.data -> 'changed') = 'object'
        THEN ARRAY(SELECT left(key, 100) FROM jsonb_object_keys(small.data -> 'changed') AS key LIMIT 12)
    END AS changed
"""

SMALL = f"""
CROSS JOIN LATERAL (
    SELECT CASE WHEN pg_column_size(event.data) <= {SMALL_BYTES} THEN event.data END AS data
    OFFSET 0
) AS small
"""


class Line(NamedTuple):
    """One event of a list."""

    id: int
    """Its place in the outbox; the attribute `sequence` of its envelope."""
    event_id: str
    entity: str
    action: str
    project_id: str | None
    entity_id: str | None
    occurred_at: datetime
    actor: str | None
    correlation_id: str
    causation_id: str | None
    project_name: str | None = None
    name: str | None = None
    agent_id: str | None = None
    agent_before: str | None = None
    worktree_id: str | None = None
    text: str = ""
    changed: list[str] | None = None
    host: str | None = None
    """Where it was; None of a host that is no more."""
    is_elsewhere: bool = False
    """Whether that is another than the default one."""
    sequence: int | None = None
    """Its place in the stream, where that is known."""

    @property
    def kind(self) -> str:
        """What happened, as its type says it."""
        return f"{self.entity}.{self.action}"

    @property
    def told(self) -> list[str]:
        """The fields that it reports, but for those that change with every other."""
        return [name for name in self.changed or () if name not in NO_NEWS]

    @property
    def title(self) -> str:
        """What it happened to, in words."""
        if self.project_name and self.name and self.entity not in {"project", "command"}:
            return f"{self.project_name}/{self.name}"
        return self.name or self.project_name or self.entity_id or "-"
