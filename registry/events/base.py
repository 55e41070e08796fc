"""What the data of all events has in common.

`data` is the full row after the change (before it, for a deletion) with the names a consumer needs beside it, and
`changed`: column to previous value, for the columns that this event reports. Joined names are null only when the row
they come from was deleted by the same statement. Readers ignore fields they do not know: one may be added at any time.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

BEFORE = "2026-01-21T09:00:00+00:00"
"""A previous time, for examples."""


class Data(BaseModel):
    """Base of the data of all events."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Registration(Data):
    """Base of the data of an event that tells of a row for the first time."""

    backfill: bool = False
    """True when the row is older than the outbox: it is told as it is at this event, not as it began."""


class Changes(TypedDict, total=False):
    """Column to previous value; a column that is not there did not change, or another event reports it.

    The schema names every column there is, and no other is sent; a reader still ignores one that is new to it.
    """

    __pydantic_config__ = ConfigDict(  # type: ignore[misc]  # pydantic's way to configure a TypedDict
        extra="ignore", json_schema_extra={"additionalProperties": False}
    )


class NoChanges(Changes):
    """Always empty: there was no row before, or there is none after."""


def example(base: dict[str, Any], changed: dict[str, Any] | None = None, **values: Any) -> ConfigDict:
    """The configuration of a model with one example: `base` with other `values` and what `changed`."""
    return ConfigDict(json_schema_extra={"examples": [base | values | {"changed": changed or {}}]})
