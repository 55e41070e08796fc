"""Times as people write and read them on the command line."""

from __future__ import annotations

import re
from contextvars import ContextVar
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta, tzinfo

from registry.errors import Invalid
from registry.validation import in_utc, printable, shifted

IN_UTC: ContextVar[bool] = ContextVar("IN_UTC", default=False)
"""Whether times are printed in UTC (`--utc`) instead of the local zone."""

_OTHER_YEAR = re.compile(r"([+-]?0000|[+-]\d{4,}|\d{5,})-\d\d(-|$)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """An ISO 8601 date or time (of the local zone where it names none), or how long ago: `30s`, `10m`, `2h`, `7d`.

    One that is not within the years 1 to 9999 in UTC is the nearest that is. Raises `Invalid`.
    """
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return shifted(datetime.now(UTC), -timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        rule = "is neither ISO 8601, as 2026-01-21T10:00:00Z, nor a time ago, as 30m"
        if re.match(_OTHER_YEAR, text):
            rule = "is in none of the years 1 to 9999, which are all there are here"
        raise Invalid(f"time {printable(text)} {rule}") from None
    return in_utc(given if given.tzinfo is not None else given.replace(tzinfo=_local_zone(given)))


def _local_zone(given: datetime) -> tzinfo | None:
    """The local zone as it is at a time there. Of the first and the last year Python cannot tell it everywhere."""
    return given.replace(year=min(max(given.year, MINYEAR + 1), MAXYEAR - 1)).astimezone().tzinfo


def printed(time: datetime, timespec: str = "seconds") -> str:
    """`2026-01-21T11:00:00+01`, or `2026-01-21T10:00:00Z` with --utc: what `moment` reads as the same time."""
    if IN_UTC.get():
        return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"
    try:
        return time.astimezone().isoformat(timespec=timespec).removesuffix(":00")
    except OverflowError:  # the first and the last day there is may be outside of years 1 to 9999 where we are
        return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"
