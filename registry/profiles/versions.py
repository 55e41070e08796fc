"""Publishing an event in a later major version than the outbox holds (docs/adr/0004-contract.md, "Evolution")."""

from __future__ import annotations

import json
from collections.abc import Mapping

import orjson

from registry import events
from registry.errors import Invalid
from registry.events.message import OutboxRow
from registry.validation import printable

# Numbers are only passed over: one of any size or length must not stop the relay.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def check_versions(versions: Mapping[str, int]) -> None:
    """Raise `Invalid` for an event or version that does not exist; `versions` has event names to major versions."""
    for name, version in versions.items():
        if not 1 <= version <= len(events.VERSIONS.get(name, ())):
            known = (
                f"it has versions 1 to {len(events.VERSIONS[name])}"
                if name in events.VERSIONS
                else "there is no such event"
            )
            raise Invalid(f"setting event_versions: value {printable(name)}: {printable(version)}: {known}")


def converted(row: OutboxRow, version: int) -> str:
    """The data of `row` as `version` of its event says it, as JSON."""
    data = events.upcast(f"{row.entity}.{row.action}", members(row.data or "{}"), 1, version)
    return orjson.dumps(data).decode()


def members(data: str) -> dict[str, orjson.Fragment]:
    """The members of a `jsonb` object as PostgreSQL writes it; each value stays the text it is."""
    found = {}
    position = 1
    while data[position] != "}":
        key, end = _DECODER.raw_decode(data, position)
        start = end + len(": ")
        _, end = _DECODER.raw_decode(data, start)
        found[key] = orjson.Fragment(data[start:end])
        position = end + len(", ") if data[end] == "," else end
    return found
