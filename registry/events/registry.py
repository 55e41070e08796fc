"""The events of the registry as a whole."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from registry.events.base import Data

RegistryTable = Literal["projects", "worktrees", "worktree_types", "agent_activities"]


class RegistryTruncated(Data):
    """All rows of one table are gone at once (TRUNCATE): throw away what you derived from them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"table": "agent_activities"}]})
    table: RegistryTable
    """The table that is empty now."""


class RegistryHeartbeat(Data):
    """Nothing changed. A service writes this to see whether events come out of the stream; pass over it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"service": "imi-registry canary host-1 4711"}]})
    service: str
    """Which process wrote it."""
