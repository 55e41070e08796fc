"""Rates, times and sizes as people write them: `200/s`, `90d`, `64GiB`."""

from __future__ import annotations

import re

from registry.errors import Invalid
from registry.validation import printable

UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
SIZES = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
MOST_PER_SECOND = 1e8
MOST_DAYS = 36_500
MOST_TEBIBYTES = 1024
NUMBER = r"(\d{1,15}(?:\.\d{1,9})?)"


def rate_per_second(option: str, text: str) -> float:
    """`200/s`, `50/min`, `1000/h` or `9.5/d`, a second. Raises `Invalid` naming `option`, the value and the rule."""
    found = re.fullmatch(rf"{NUMBER}/(s|min|h|d)", text.strip(), re.ASCII)
    rate = float(found[1]) / UNITS[found[2]] if found else 0.0
    if not 0 < rate <= MOST_PER_SECOND:
        raise Invalid(
            f"{option}: value {printable(text)}: it must be a number above 0 for each s, min, h or d, as 200/s or "
            f"50/min, and at most {MOST_PER_SECOND:,.0f}/s"
        )
    return rate


def duration_seconds(option: str, text: str) -> float:
    """`90d`, `12h`, `30min` or `45s`, in seconds. Raises `Invalid` naming `option`, the value and the rule."""
    found = re.fullmatch(rf"{NUMBER}\s*(s|min|h|d)", text.strip(), re.ASCII)
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= MOST_DAYS * UNITS["d"]:
        raise Invalid(
            f"{option}: value {printable(text)}: it must be a number above 0 of s, min, h or d, as 90d or 12h, and at "
            f"most {MOST_DAYS}d"
        )
    return seconds


def size_bytes(option: str, text: str) -> int:
    """`500MiB`, `1.5GiB` or a number of bytes. Raises `Invalid` naming `option`, the value and the rule."""
    found = re.fullmatch(rf"{NUMBER}\s*(|KiB|MiB|GiB|TiB)", text.strip(), re.ASCII)
    size = int(float(found[1]) * SIZES[found[2]]) if found else 0
    if not 0 < size <= MOST_TEBIBYTES * SIZES["TiB"]:
        raise Invalid(
            f"{option}: value {printable(text)}: it must be a number above 0 of bytes, KiB, MiB, GiB or TiB, as 64GiB, "
            f"and at most {MOST_TEBIBYTES}TiB"
        )
    return size
