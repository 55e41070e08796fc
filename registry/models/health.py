"""What the registry says of itself."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime

from registry.models.row import Row


class HealthCheck(Row):
    """One thing that `registry_health` looked at."""

    name: str
    """What was looked at, in a word or two."""
    state: Literal["ok", "warn", "bad", "unknown"]
    """How it is; unknown is what the caller may not read."""
    what: str
    """What was found."""
    hint: str | None
    """What to do; null where it is ok."""


class SlowQuery(Row):
    """A statement of the registry, as pg_stat_statements has it."""

    calls: int
    """How often it was carried out."""
    mean_ms: float
    """How long it took on average, in milliseconds."""
    max_ms: float
    """How long the slowest took."""
    total_ms: float
    """How long all took together."""
    rows_per_call: float
    """Rows that one gave or changed, on average."""
    hit_ratio: float | None
    """Share of the blocks that were in memory; null where it read none."""
    user_name: str | None
    """Whose statement it is."""
    query: str
    """The beginning of its text, without values."""


class RegistryMetadata(Row):
    """Which schema the database has: the row of `registry_metadata`."""

    registry_id: UUID
    """Tells this registry from others; a copy of the database has it, too."""
    schema_version: str
    """Of the specification."""
    migration: int
    """Number of the last migration."""
    installed_at: AwareDatetime
    """When the registry was installed."""
    upgraded_at: AwareDatetime
    """When the last migration was applied or taken back."""
    derived_ids: bool
    """Whether new projects get the id that follows from their origin, unless a caller says."""
