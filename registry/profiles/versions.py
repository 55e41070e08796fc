"""Publishing an event in a later major version than the outbox holds (docs/adr/0004-contract.md, "Evolution")."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import orjson

from registry.errors import Invalid
from registry.events import VERSIONS, upcast
from registry.events.message import Message, OutboxRow
from registry.profiles import imi
from registry.subjects import Names

# Numbers are only passed over: one of any size or length must not stop the relay.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def encoder(versions: Mapping[str, int], names: Names, source: str) -> Callable[[OutboxRow, int], Message]:
    """`imi.encode` with the events named in `versions` in that major version.

    Raises `Invalid` for an event or version that does not exist.
    """
    for name, version in versions.items():
        if not 1 <= version <= len(VERSIONS.get(name, ())):
            known = f"it has versions 1 to {len(VERSIONS[name])}" if name in VERSIONS else "there is no such event"
            raise Invalid(f'setting event_versions: value "{name}": {version}: {known}')

    def encode(row: OutboxRow, max_bytes: int) -> Message:
        name = f"{row.entity}.{row.action}"
        version = versions.get(name, 1)
        if version > 1:
            data = upcast(name, members(row.data), 1, version)
            row = row._replace(data=orjson.dumps(data).decode())
        return imi.encode(row, max_bytes, names=names, source=source, version=version)

    return encode


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
