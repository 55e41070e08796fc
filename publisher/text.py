"""Text from outside, as it may be written to a terminal or a log."""

from __future__ import annotations

import re

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys instead of showing it, what breaks a line or turns its order, and halves of characters."""


def visible(text: str) -> str:
    """`text` on one line, its control characters as Python writes them: `\\n`, `\\x1b`, `\\u202e`."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
