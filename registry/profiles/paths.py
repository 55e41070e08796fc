"""Absolute paths of a workstation, left out of data: some domains of the pipeline forbid them.

Works on JSON as text, so that numbers of any size keep their digits and nothing that stands in a row stops the relay.
"""

from __future__ import annotations

import re
from itertools import count

import orjson

OMITTED = "[path]"
"""What stands in a text in the place of a path."""
FIELDS = {"path", "trunk_path", "file_path"}
"""Fields that hold a path, or null where it is left out."""
_STRING = re.compile(r'"((?:[^"\\]|\\.)*+)"(\s*:)?')
_BEGINS = r"(?:file:///?|~/|[A-Za-z]:[\\/]|\\\\|/(?!/))"
_WHOLE = re.compile(rf"{_BEGINS}(?:[^/\\\s]|[/\\ ](?=\S))+[/\\]?|/|~")
_WITHIN = re.compile(rf"(?<![\w./\\~-]){_BEGINS}[^\s\"'<>|]+")


def without_paths(data: str) -> str:
    """`data`, JSON text, without absolute paths: null in `FIELDS`, else `[path]`, in names of members with a number.

    A text that begins with a path is taken for one as a whole: paths have blanks, too.
    """
    numbers = count(1)
    field = ""

    def replaced(found: re.Match[str]) -> str:
        nonlocal field
        quoted, colon = found[1], found[2]
        if colon:
            field = quoted
        if not any(sign in quoted for sign in "/~\\"):
            return found[0]
        text = _read(f'"{quoted}"')
        if text is None:
            return found[0]
        if colon:
            return _quoted(_WITHIN.sub(lambda _: f"[path {next(numbers)}]", text)) + colon
        if _WHOLE.fullmatch(text):
            return "null" if field in FIELDS else _quoted(OMITTED)
        return _quoted(_WITHIN.sub(OMITTED, text))

    return _STRING.sub(replaced, data)


def _read(quoted: str) -> str | None:
    """The text of a JSON string; None of one that is none, as half of a surrogate pair."""
    try:
        text: str = orjson.loads(quoted)
    except orjson.JSONDecodeError:
        return None
    return text


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
