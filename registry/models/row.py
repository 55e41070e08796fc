"""What all rows have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """A row as it was read; it never changes."""

    model_config = ConfigDict(frozen=True, defer_build=True)
