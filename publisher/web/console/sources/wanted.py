"""Which events a page shows: the fields of its form, which are those of its URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from publisher.web.console.sources.lines import Line
from registry.errors import Invalid
from registry.events.actions import check_filter
from registry.validation import check_text, in_utc, printable

MOST_CHARACTERS, MOST_AGENT_CHARACTERS = 200, 512
"""Of a field, and of the id of an agent: as many as it may have."""
AGES = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
"""Spans that `since` may name instead of a time."""

CONDITION = """
    (%(heartbeats)s OR event.action <> 'heartbeat')
    AND (%(entity)s::text IS NULL OR event.entity = %(entity)s)
    AND (%(action)s::text IS NULL OR event.action = %(action)s)
    AND (%(project)s::uuid IS NULL OR event.project_id = %(project)s)
    AND (%(correlation)s::uuid IS NULL OR coalesce(event.correlation_id, event.event_id) = %(correlation)s)
    AND (
        %(host)s::text IS NULL
        OR coalesce(event.host_id, public.default_host_id()) = (
            SELECT host.id FROM public.hosts AS host WHERE host.name = %(host)s
        )
    )
    AND (%(since)s::timestamptz IS NULL OR event.occurred_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR event.occurred_at < %(until)s)
    AND (
        %(worktree)s::text IS NULL
        OR event.entity_id = %(worktree)s::uuid
        OR (event.entity IN ('activity', 'command') AND event.data ->> 'worktree_id' = %(worktree)s)
    )
    AND (
        %(agent)s::text IS NULL
        OR (
            event.entity IN ('worktree', 'activity')
            AND (event.data ->> 'agent_id' = %(agent)s OR event.data -> 'changed' ->> 'agent_id' = %(agent)s)
        )
        OR event.actor = %(agent)s
    )
"""
"""Of a row `event`; takes `values`."""


@dataclass(frozen=True)
class Wanted:
    """None means any."""

    entity: str | None = None
    action: str | None = None
    project: str | None = None
    """Id of a project."""
    worktree: str | None = None
    """Id of a worktree: its own events, and the activities in it."""
    agent: str | None = None
    """Who has it, had it before, or wrote it."""
    correlation: str | None = None
    host: str | None = None
    """Name of the host of the worktree, or of what is on none, of the writer."""
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Wanted:
        """What a URL asks for; empty fields mean any. Raises `Invalid` naming field, value and rule."""
        named = {field.name: given.get(field.name, "").strip() for field in fields(cls)}
        values: dict[str, Any] = {name: text or None for name, text in named.items()}
        for name, text in named.items():
            check_text(text, name)
            most = MOST_AGENT_CHARACTERS if name == "agent" else MOST_CHARACTERS
            if len(text) > most:
                raise Invalid(f"{name}: it has {len(text)} characters, at most {most} are allowed")
            if text and name in {"project", "worktree", "correlation"}:
                values[name] = uuid_of(name, text)
            if text and name in {"since", "until"}:
                values[name] = _time(name, text)
        values["host"] = named["host"].lower() or None
        wanted = cls(**values)
        check_filter(wanted.entity, wanted.action, None)
        return wanted

    @property
    def is_any(self) -> bool:
        """Whether every event is wanted."""
        return self == Wanted()

    def values(self) -> dict[str, Any]:
        """Parameters of `CONDITION`."""
        return vars(self) | {"heartbeats": self.has_heartbeats}

    @property
    def has_heartbeats(self) -> bool:
        """Whether heartbeats are shown, which tell of nothing but the way that they go: where they are asked for."""
        return self.entity == "registry" or self.action == "heartbeat"

    def matches(self, line: Line) -> bool:
        """Whether a line is wanted, as `CONDITION` has it."""
        return (
            (self.has_heartbeats or line.action != "heartbeat")
            and self.entity in (None, line.entity)
            and self.action in (None, line.action)
            and self.project in (None, line.project_id)
            and self.correlation in (None, line.correlation_id)
            and self.host in (None, line.host)
            and (self.since is None or line.occurred_at >= self.since)
            and (self.until is None or line.occurred_at < self.until)
            and self.worktree in (None, line.entity_id, line.worktree_id)
            and self.agent in (None, line.agent_id, line.agent_before, line.actor)
        )


def uuid_of(name: str, text: str) -> str:
    """A UUID as PostgreSQL writes it. Raises `Invalid`."""
    try:
        return str(UUID(text))
    except ValueError:
        raise Invalid(f"{name}: {printable(text)}: it must be a UUID") from None


def _time(name: str, text: str) -> datetime:
    """A time, or one that is so long ago. Without a zone it is UTC. Raises `Invalid`."""
    if text in AGES:
        return datetime.now(UTC) - AGES[text]
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            f"{name}: {printable(text)}: it must be a time, as 2026-01-21T10:00, or one of {', '.join(AGES)}"
        ) from None
    return in_utc(time if time.tzinfo else time.replace(tzinfo=UTC))
