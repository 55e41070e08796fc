"""Text from outside, as it may be written to a terminal or a log."""

from __future__ import annotations

import json
import re

_OBEYED = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""What a terminal obeys instead of showing it, what breaks a line or turns its order, and halves of characters."""
_UNSEEN = "\xad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
"""What nobody sees: two names that differ in nothing else look the same, and tags can hold a text for a program.
Joiners are not among them: Persian, Hindi and emoji are written with them."""
_UNSAFE = re.compile(f"[\x00-\x1f{_OBEYED}{_UNSEEN}]")
_UNSAFE_IN_JSON = re.compile(f"[{_OBEYED}{_UNSEEN}]")
_NOT_ASCII = re.compile(r"[^\x00-\x7e]")


def visible(text: str) -> str:
    """`text` on one line, its control characters as Python writes them: `\\n`, `\\x1b`, `\\u202e`."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def visible_json(document: str, encoding: str = "utf-8") -> str:
    """A JSON document with the same characters as `\\u009b`, and with those that `encoding` has not: it says the same.

    Those before the blank JSON has escaped itself; where one is left, as between lines, it belongs there.
    """
    is_complete = encoding.lower().replace("_", "-") in {"utf-8", "utf8"}
    return (_UNSAFE_IN_JSON if is_complete else _NOT_ASCII).sub(_escaped, document)


def json_line(payload: bytes) -> str:
    """A JSON document as one line, where it came in several; what is no text as a JSON text, its bytes escaped."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = json.dumps(payload.decode(errors="backslashreplace"))
    return text.replace("\r", " ").replace("\n", " ")


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
