"""The settings of a replica: how it reaches the database that it is a copy of."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ReplicaSettings(BaseModel):
    """Part of `Settings`."""

    replica_source_url: str | None = Field(
        default=None,
        description="PostgreSQL URL of the registry that this one replicates: serve watches that, and writes nothing.",
    )
