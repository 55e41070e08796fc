"""What Python says that it is about to do: its audit events (PEP 578), seen while a test looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

PROGRAMS = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.")
LOOKED_AT = (
    *PROGRAMS,
    *("exec", "compile", "import", "code.", "pickle.", "marshal.load", "ctypes.dlopen"),
    *("open", "os.", "shutil.", "glob.", "pathlib.", "tempfile.", "sqlite3.connect"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.", "http.", "webbrowser."),
)
"""Beginnings of the names of events: programs that are started, code that is run, files and hosts that are named."""
_seen: list[list[str]] = []


class Seen(list[str]):
    """Events with their arguments, as text."""

    @property
    def programs(self) -> list[str]:
        """Those of a program that was started."""
        return [event for event in self if event.startswith(PROGRAMS)]

    def naming(self, mark: str) -> list[str]:
        """Those in whose arguments `mark` stands."""
        return [event for event in self if mark in event]


@contextmanager
def watched() -> Iterator[Seen]:
    """What this process does in the block, in all its threads."""
    _hook()
    seen = Seen()
    _seen.append(seen)
    try:
        yield seen
    finally:
        _seen.remove(seen)


@cache
def _hook() -> None:
    """Listen, once for all: what listens cannot be taken away again."""

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if _seen and event.startswith(LOOKED_AT):
            told = f"{event} {arguments!r}"
            for seen in _seen:
                seen.append(told)

    sys.addaudithook(note)
