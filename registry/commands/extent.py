"""How large a JSON text may be before anybody reads it: its values would take many times its bytes of memory."""

from __future__ import annotations

import re

from registry.errors import Invalid

MOST_BYTES = 8 * 1024 * 1024
"""Of a command, in a stream that others made: ours takes none as large."""
MOST_VALUES = 100_000
"""Members, elements, objects and lists of one command together."""
MOST_LEVELS = 950
"""Metadata may have 100 (`registry/validation/`): a command with more is rejected under its id, up to here."""
RULE = "payload is not JSON that is read here"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKET = bytes(set(range(256)) - set(b"{}[]"))


def check_extent(payload: bytes) -> None:
    """Raise `Invalid` for a text of too many bytes, values or levels, whether or not it is JSON."""
    if len(payload) > MOST_BYTES:
        raise Invalid(f"{RULE}: it has {len(payload)} bytes, at most {MOST_BYTES} are allowed")
    if _values(payload) <= MOST_LEVELS:
        return  # were none of these signs in a text, it would have neither too many values nor too many levels
    bare = _STRING.sub(b"", payload)
    if _values(bare) > MOST_VALUES:
        raise Invalid(f"{RULE}: it has more than {MOST_VALUES} values")
    level = 0
    for bracket in bare.translate(None, _NO_BRACKET):
        level += 1 if bracket in b"{[" else -1
        if level > MOST_LEVELS:
            raise Invalid(f"{RULE}: it is nested deeper than {MOST_LEVELS} levels")


def most_values(payload: bytes) -> int:
    """So many values a text has at most that `check_extent` lets through, told without reading it."""
    return min(_values(payload), MOST_VALUES)


def _values(text: bytes) -> int:
    return text.count(b",") + text.count(b"{") + text.count(b"[")
