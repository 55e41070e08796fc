"""Numbers in URLs."""

from __future__ import annotations

import re

from registry.errors import Invalid
from registry.validation import printable

MOST = 2**63 - 2


def number_of(text: str, name: str) -> int:
    """A number of the kind that rows and sequences have. Raises `Invalid`."""
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > MOST:
        raise Invalid(f"{name}: {printable(text)}: it must be a number from 0 to {MOST}")
    return int(text)
