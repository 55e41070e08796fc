"""Files that hold a secret: read only where nobody else can read them, as libpq does with a client's key."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from registry.errors import Invalid

MOST_BYTES = 64 * 1024
OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO
OTHERS_MAY_OF_ROOTS = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
"""Root's file may be readable for the group that a service runs in."""


def read_secret(name: str, path: Path) -> bytes:
    """The content of a file. `name` is what the file is called in the error.

    Raises `Invalid` when it is not there, is none, or somebody else may read or change it.
    """
    try:
        # A pipe would be waited for, and could be read only once.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Invalid(f'{name} "{path}": it must be a regular file')
            _check_mode(name, path, status)
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise Invalid(f'{name} "{path}": {_reason(error)}') from None
    if len(content) > MOST_BYTES:
        raise Invalid(f'{name} "{path}": it has more than {MOST_BYTES} bytes')
    return content


def read_line(name: str, path: Path) -> str:
    """The one line of a file. Raises `Invalid` as `read_secret` does, and for none or more than one."""
    content = read_secret(name, path)
    try:
        line = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        line = ""
    if not line or not line.isprintable():
        raise Invalid(f'{name} "{path}": it must hold one line of text')
    return line


def _check_mode(name: str, path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in {0, os.geteuid()}:
        raise Invalid(f'{name} "{path}": it belongs to another user (uid {status.st_uid}); it must be yours')
    if mode & (OTHERS_MAY if status.st_uid else OTHERS_MAY_OF_ROOTS):
        raise Invalid(f'{name} "{path}": others may read or change it (mode {mode:04o}); chmod 600 it')


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return getattr(error, "strerror", None) or str(error)
