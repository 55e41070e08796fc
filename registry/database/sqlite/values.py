"""Values of the old database as the registry has them: ids, times, booleans. Each says what it changed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from registry.errors import Invalid

NAMESPACE = UUID("6f4d3c52-1c0e-5f7b-9a51-0d7a3b1c8e24")
"""Of ids that are made out of old ones: the same in every run, so that a second import finds the first."""
LEAP_SECOND = re.compile(r"^(.{10}[T ]\d\d:\d\d):60")
FALSE, TRUE = {"0", "false", "f", "no", "off"}, {"1", "true", "t", "yes", "on"}


class Read(NamedTuple):
    """A value, and what somebody should know about it; empty when it is as it was."""

    value: Any
    note: str = ""


def uuid(table: str, value: Any) -> Read:
    """An id: as it is where it is a UUID, else one made of table and id. Raises `Invalid` where there is none."""
    if value is None:  # a key of SQLite may be NULL, and that of any number of rows
        raise Invalid("id is empty")
    try:
        return Read(UUID(str(value)))
    except ValueError:
        made = uuid5(NAMESPACE, f"{table}/{value}")
        return Read(made, f'id "{value}" is no UUID; it is now {made}')


def text(field: str, value: Any) -> str | None:
    """Text as it stands there; None where there is none. Raises `Invalid` for what is no text."""
    if value is None:
        return None
    if isinstance(value, bytes):
        raise Invalid(f"{field}: it is not UTF-8: {value[:40]!r}")
    found = str(value)
    if "\0" in found:
        raise Invalid(f"{field}: it has a NUL character: {found[:40]!r}")
    return found


def word(field: str, value: Any) -> str | None:
    """Text that has no blanks in it, without those around it; None where there is none. Raises `Invalid`, as `text`."""
    found = text(field, value)
    return found if found is None else found.strip()


def required(field: str, value: str | None) -> str:
    """What is read of a field that must have a value. Raises `Invalid`."""
    if value is None:
        raise Invalid(f"{field} is empty")
    return value


def boolean(field: str, value: Any) -> bool:
    """0 or 1, also as text; active where nothing is said. Raises `Invalid`."""
    if value is None:
        return True
    word = str(value).strip().lower()
    if word in TRUE | FALSE:
        return word in TRUE
    raise Invalid(f'{field} "{value}" is neither 0 nor 1')


def time(field: str, value: Any, otherwise: datetime) -> Read:
    """RFC 3339, or SQLite's own form, which is UTC; `otherwise` where there is none or it cannot be read.

    RFC 3339 has `t` and `z` in small letters, too, and a second 60: the first one of the next minute, as in PostgreSQL.
    Of more than six digits of a second the first six are kept.
    """
    if value is None:
        return Read(otherwise, f"{field} is empty; it is now {otherwise.isoformat()}")
    written, leap_seconds = LEAP_SECOND.subn(r"\1:59", str(value).strip().upper())
    try:
        found = datetime.fromisoformat(written) + timedelta(seconds=leap_seconds)
    except (ValueError, OverflowError):
        return Read(otherwise, f'{field} "{value}" is no time; it is now {otherwise.isoformat()}')
    if found.tzinfo is None:
        return Read(found.replace(tzinfo=UTC))
    return Read(found)
