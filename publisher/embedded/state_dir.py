"""The state directory of embedded servers: one owner, its secrets, and what makes it unusable."""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.errors import Conflict, Invalid, Unavailable

SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103  # sun_path without its terminating zero


@contextmanager
def owned(state_dir: Path) -> Iterator[Path]:
    """Own `state_dir` (created 0700 when missing) until the block ends; yields its absolute path.

    Raises `Conflict` when another process owns it, `Invalid` when it cannot be used as a state directory.
    """
    directory = state_dir.expanduser().resolve()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = "not a directory" if isinstance(error, (FileExistsError, NotADirectoryError)) else error.strerror
        raise Invalid(f'state directory "{directory}": cannot be created: {reason}') from error
    check_socket_path(directory)
    try:
        held = os.open(directory / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Invalid(f'state directory "{directory}": is not writable: {error.strerror}') from error
    try:
        if not try_lock(held):
            owner = os.pread(held, 32, 0).decode().strip() or "(just starting)"
            raise Conflict(f'state directory "{directory}" is in use by process {owner}')
        os.ftruncate(held, 0)
        os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
        yield directory
    finally:
        os.close(held)


def check_socket_path(directory: Path) -> None:
    """Raise `Invalid` when PostgreSQL clients could not name a socket under `directory`."""
    socket = directory / "run" / SOCKET
    length = len(os.fsencode(socket))
    if length > SOCKET_PATH_BYTES:
        raise Invalid(
            f'state directory "{directory}": its PostgreSQL socket would have a path of {length} bytes, '
            f"at most {SOCKET_PATH_BYTES} are allowed; choose a shorter path"
        )
    if "," in str(socket):
        raise Invalid(f'state directory "{directory}": has a comma, which separates hosts for PostgreSQL clients')


def secret(path: Path, needed_by: Path | None = None) -> str:
    """The secret in `path`, made on first use. Raises `Invalid` when it is lost but `needed_by` still relies on it."""
    if path.exists():
        return path.read_text().strip()
    if needed_by is not None and needed_by.exists():
        raise Invalid(f'"{path}" is missing but "{needed_by}" needs it; restore the file')
    secret = secrets.token_hex(24)
    write_private(path, secret)
    return secret


def write_private(path: Path, text: str) -> None:
    """Write `path` with mode 0600, durably and all at once."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(fresh, "w", opener=private) as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


@contextmanager
def starting(name: str) -> Iterator[None]:
    """A disk that is missing, full or read-only is `Unavailable`, with the file in its message."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{name} did not start: {error.strerror}: {error.filename}") from error


def try_lock(lock: int) -> bool:
    """Take the flock of an open file if nobody else has it; whether we have it now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def private(path: str, flags: int) -> int:
    """An `opener` for `open`: what it creates has mode 0600."""
    return os.open(path, flags, 0o600)
