"""What a value from outside must look like, and one line for people about the one that does not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from registry.errors import Invalid
from registry.urls import MOST_TOLD, without_credentials

if TYPE_CHECKING:
    from pydantic import ValidationError

NOT_SHOWN = "(not shown, since it may have a password in it)"
_WITHOUT_PASSWORD = re.compile(r"git@[^@]*")
_BEFORE_HOST = re.compile(r"^([A-Za-z+]+://)?.*@", re.DOTALL)
_PARAMETERS = re.compile(r"[?#].*", re.DOTALL)
_ORIGIN = re.compile(r"(?:[A-Za-z+]+://|git@|github\.com:)?(?:\*{3}@)?[^:@]*(?::[0-9]+)?(?:/[^:@]*)?|git@[^:@]+:[^:@]*")
NOT_BLANK = r"\S"
ONE_WORD = r"^\S+$"
NOT_EMPTY = r"^[^\x00]+$"
INBOX = r"^_INBOX[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)+$"
"""Pattern of the only subjects an outcome is sent to on a sender's word."""
PREFIX = r"^[a-z][a-z0-9_-]{0,31}$"
"""Pattern of the first token of subjects."""
SOURCE = r"^[!-~]{1,200}$"
SENDER = r"^[A-Za-z0-9_-]{1,64}$"
"""Pattern of a CloudEvents `source`, which also stands in a header."""
HOST = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$"
"""Pattern of the name of a host; one that looks like an id is refused by the database."""
RULES = {
    NOT_BLANK: "it must not be blank",
    ONE_WORD: "it must not be blank or have spaces",
    NOT_EMPTY: "it must not be empty or have a NUL",
    INBOX: "it must be an inbox: _INBOX, which may go on, and tokens behind it",
    PREFIX: 'it must be a small letter and up to 31 more, or digits, "_" and "-"',
    HOST: 'it must be letters, digits, ".", "-" and "_", and begin and end with a letter or digit',
    SENDER: 'it must be 1 to 64 letters, digits, "_" and "-"',
    SOURCE: "it must be 1 to 200 characters of ASCII without spaces",
}
"""What the patterns mean, for people."""
MOST_NAMED = 200
"""Characters of an actor, and of an idempotency key."""
MOST_CHARACTERS = 80
MOST_LEVELS = 100
"""How deep metadata may be nested, as in `require_object` of the database: pydantic reads no more than 200."""
MOST_VALUES = 10_000_000
"""More values than any text has that goes into a message; a structure in which parts occur many times can have them."""
UNSTORABLE = "a NUL or half of a surrogate pair; neither can be stored"
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
"""The years 1 to 9999, which RFC 3339 and Python can say."""
_BEYOND = re.compile(r"[0-9]{5,}-")


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
    return Invalid(": ".join([*parts, told(rule[0].lower() + rule[1:])]))


def told(text: str) -> str:
    """What a library says of a value, with some of the value in it: one line of at most `MOST_TOLD` characters."""
    short = text if len(text) <= MOST_TOLD else f"{text[:MOST_TOLD]}…"
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in short)


def nearest_time(value: Any) -> Any:
    """The text of a time of PostgreSQL that is not within the years 1 to 9999 as the nearest of these.

    Tables refuse such a time; rows and events that are older than this rule may have one. All else is as it was.
    """
    if not isinstance(value, str) or (value[4:5] == "-" and not value.endswith(" BC")):
        return value  # a year of four digits, as nearly all have: that is seen in half the time of the rest
    if value == "-infinity" or value.endswith(" BC"):
        return EARLIEST
    return LATEST if value == "infinity" or _BEYOND.match(value) else value


def in_utc(time: datetime) -> datetime:
    """A time, which has a zone, in UTC: the nearest of one that is in none of the years 1 to 9999 there."""
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return EARLIEST if time.year == EARLIEST.year else LATEST


def shifted(time: datetime, by: timedelta) -> datetime:
    """A time so much later, or earlier, and no later or earlier than there is any."""
    try:
        return time + by
    except OverflowError:
        return EARLIEST if by < timedelta() else LATEST


def check_text(text: str, place: str) -> None:
    """Raise `Invalid` naming `place`, value and rule for a text that PostgreSQL cannot store."""
    is_whole = True
    try:
        text.encode()
    except UnicodeEncodeError:
        is_whole = False
    if "\0" in text or not is_whole:
        raise Invalid(f"{printable_place(place)}: {printable(text)}: it has {UNSTORABLE}")


def printable_place(place: str) -> str:
    """The way to a value, as it may stand in a message."""
    return place if place.isprintable() and len(place) <= 200 else printable(place)


def not_too_deep(value: dict[str, Any]) -> dict[str, Any]:
    """`value`, of at most `MOST_LEVELS` levels and `MOST_VALUES` values. Raises `ValueError`."""
    _count(value, MOST_LEVELS, {})
    return value


def _count(value: Any, levels: int, known: dict[tuple[int, int], int]) -> int:
    """How many values are in `value`; one that occurs many times is looked at once a level."""
    if not isinstance(value, dict | list | tuple):
        return 1
    if levels == 0:
        raise ValueError(f"it must not be nested deeper than {MOST_LEVELS} levels")
    key = id(value), levels
    if key not in known:
        known[key] = 1 + sum(_count(inner, levels - 1, known) for inner in _members(value))
        if known[key] > MOST_VALUES:
            raise ValueError(f"it must not have more than {MOST_VALUES:,} values")
    return known[key]


def _members(value: dict[str, Any] | list[Any] | tuple[Any, ...]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def printable(value: Any) -> str:
    """A value for a message: one line of at most `MOST_CHARACTERS`, no credential; of what is nested, its type."""
    if isinstance(value, float):
        return orjson.dumps(float(value)).decode()  # of a class of its own, as NumPy's, it is none to orjson
    if value is None or isinstance(value, bool):
        return orjson.dumps(value).decode()
    if isinstance(value, int):
        return str(value) if abs(value) < 10**MOST_CHARACTERS else "(int)"
    if not isinstance(value, str):
        return f"({type(value).__name__})"
    shown = without_credentials(value)
    short = shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]}…"
    text = short.encode("utf-8", "backslashreplace").decode()
    return orjson.dumps(text).decode().replace("\\u0000", "\\0")


def printable_origin(origin: str) -> str:
    """As `printable`, of what was given as an origin; nothing of one in which a password may be and none is found.

    The function `quote_origin` of the schema says the same; a test compares them.
    """
    shown = origin if _WITHOUT_PASSWORD.fullmatch(origin) else _BEFORE_HOST.sub(r"\1***@", origin, count=1)
    shown = _PARAMETERS.sub("?***", shown)
    return printable(shown) if _ORIGIN.fullmatch(shown) else NOT_SHOWN
