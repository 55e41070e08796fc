"""What a value from outside must look like, and one line for people about the one that does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from pydantic import ValidationError

from registry.errors import Invalid
from registry.urls import without_credentials

NOT_BLANK = r"\S"
ONE_WORD = r"^\S+$"
NOT_EMPTY = r"^[^\x00]+$"
INBOX = r"^_INBOX[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)+$"
"""Pattern of the only subjects an outcome is sent to on a sender's word."""
PREFIX = r"^[a-z][a-z0-9_-]{0,31}$"
"""Pattern of the first token of subjects."""
SOURCE = r"^[!-~]{1,200}$"
"""Pattern of a CloudEvents `source`, which also stands in a header."""
RULES = {
    NOT_BLANK: "it must not be blank",
    ONE_WORD: "it must not be blank or have spaces",
    NOT_EMPTY: "it must not be empty or have a NUL",
    INBOX: "it must be an inbox: _INBOX, which may go on, and tokens behind it",
    PREFIX: 'it must be a small letter and up to 31 more, or digits, "_" and "-"',
    SOURCE: "it must be 1 to 200 characters of ASCII without spaces",
}
"""What the patterns mean, for people."""
MOST_CHARACTERS = 80
MOST_LEVELS = 100
"""How deep metadata may be nested, as in `require_object` of the database: pydantic reads no more than 200."""


def from_validation(error: ValidationError, what: str) -> Invalid:
    """The first fault pydantic found in `what`, as one line: what, field, value, rule."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    rule = RULES.get(first.get("ctx", {}).get("pattern", ""), first["msg"].removeprefix("Value error, "))
    parts = [what]
    if field:
        parts.append(field if field.isprintable() and len(field) <= MOST_CHARACTERS else printable(field))
    if field and first["type"] not in {"missing", "extra_forbidden"}:
        parts.append(printable(first["input"]))
    return Invalid(": ".join([*parts, rule[0].lower() + rule[1:]]))


def not_too_deep(value: dict[str, Any]) -> dict[str, Any]:
    """`value`, of at most `MOST_LEVELS` levels. Raises `ValueError`."""
    level: list[Any] = [value]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level for inner in _members(outer) if isinstance(inner, dict | list)]
    if level:
        raise ValueError(f"it must not be nested deeper than {MOST_LEVELS} levels")
    return value


def _members(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def printable(value: Any) -> str:
    """A value for a message: one line of at most `MOST_CHARACTERS`, no credential; of what is nested, its type."""
    if value is None or isinstance(value, bool | float):
        return orjson.dumps(value).decode()
    if isinstance(value, int):
        return str(value) if abs(value) < 10**MOST_CHARACTERS else "(int)"
    if not isinstance(value, str):
        return f"({type(value).__name__})"
    shown = without_credentials(value)
    short = shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]}…"
    text = short.encode("utf-8", "backslashreplace").decode()
    return orjson.dumps(text).decode().replace("\\u0000", "\\0")
