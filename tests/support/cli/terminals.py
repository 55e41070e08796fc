"""A command on a terminal: a pseudo terminal of so many columns, and what is shown on it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.support.processes import COMMAND, environment

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
"""A code for a colour or the cursor."""


def on_terminal(*arguments: str, columns: int = 80, output: Path | None = None, **variables: str) -> tuple[int, str]:
    """Run a command whose standard streams are a terminal, but for its output where `output` says which file.

    Returns its exit code and what was shown.
    """
    terminal, its_side = pty.openpty()
    fcntl.ioctl(its_side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    settings = environment(**{"TERM": "xterm-256color", "COLUMNS": ""} | variables)
    if not settings["COLUMNS"]:
        del settings["COLUMNS"]  # the terminal tells
    with ExitStack() as stack:
        out = its_side if output is None else stack.enter_context(output.open("wb"))
        process = subprocess.Popen([*COMMAND, *arguments], stdin=its_side, stdout=out, stderr=its_side, env=settings)
    os.close(its_side)
    shown = b"".join(_read_all(terminal))
    os.close(terminal)
    return process.wait(30), shown.decode(errors="backslashreplace")


def lines_of(shown: str) -> list[str]:
    """The lines, also those written over, without the codes for colours and the cursor."""
    return [line for line in re.split(r"[\r\n]+", ESCAPE.sub("", shown)) if line.strip()]


def _read_all(descriptor: int) -> Iterator[bytes]:
    """What is written to a terminal, until its last user closes it."""
    while True:
        try:
            yield os.read(descriptor, 65536)
        except OSError:  # EIO: the other side is closed
            return
