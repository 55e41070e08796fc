"""JSON for people: indented, with its parts marked for the style sheet, every byte of it escaped."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from publisher.text import visible_json
from registry import exact

MOST_BYTES = 128 * 1024
"""A larger document is shown as it is, up to so many bytes: a browser would take seconds over the marks."""
TOKEN = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=\s*:))|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>true|false|null)'
    r"|(?P<number>-?[0-9][0-9.eE+-]*)"
)


def marked(document: bytes) -> Markup:
    """A document as markup for a `pre`; what is no JSON is shown as it is."""
    if len(document) > MOST_BYTES:
        return escape(visible_json(document[:MOST_BYTES].decode(errors="replace")) + " …")
    try:
        text = visible_json(exact.dumps(exact.loads(document), indent=True).decode())
    except (ValueError, RecursionError):
        return escape(visible_json(document.decode(errors="backslashreplace")))
    parts, end = [], 0
    for match in TOKEN.finditer(text):
        parts.append(escape(text[end : match.start()]))
        parts.append(Markup('<span class="j-{}">{}</span>').format(match.lastgroup, match[0]))
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])
