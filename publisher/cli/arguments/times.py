"""Times as people write and read them on the command line."""

from __future__ import annotations

import re
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

from registry.errors import Invalid
from registry.validation import printable

IN_UTC: ContextVar[bool] = ContextVar("IN_UTC", default=False)
"""Whether times are printed in UTC (`--utc`) instead of the local zone."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """An ISO 8601 date or time (of the local zone where it names none), or how long ago: `30s`, `10m`, `2h`, `7d`.

    Raises `Invalid`.
    """
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    try:
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise Invalid(
            f"time {printable(text)} is neither ISO 8601, as 2026-01-21T10:00:00Z, nor a time ago, as 30m"
        ) from None


def printed(time: datetime, timespec: str = "seconds") -> str:
    """`2026-01-21T11:00:00+01`, or `2026-01-21T10:00:00Z` with --utc: what `moment` reads as the same time."""
    if IN_UTC.get():
        return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"
    try:
        return time.astimezone().isoformat(timespec=timespec).removesuffix(":00")
    except OverflowError:  # the first and the last day there is may be outside of years 1 to 9999 where we are
        return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"
