"""The state directory of embedded servers: one owner, its secrets, and what makes it unusable."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from publisher.embedded.account import owners
from publisher.embedded.place import FOLDER, check_links_are_ours, held, in_place, private, remove, replace, small_text
from registry.errors import Conflict, Invalid, Unavailable, Unusable

HERE = Path(".imi")
"""The state directory where nobody names one: it must have been made here, see `check_was_made_here`."""
OWNER_LOCK = "owner.lock"
LOOKING = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""At the file itself, not where a link leads, and without waiting for the other end of a pipe."""
LOOKING_SECONDS = 0.1
SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103  # sun_path without its terminating zero


@contextmanager
def owned(state_dir: Path) -> Iterator[Path]:
    """Own `state_dir` (created 0700 when missing) until the block ends; yields its absolute path.

    Raises `Conflict` when another process owns it, `Invalid` when it cannot be used as a state directory.
    """
    if state_dir == HERE:
        check_was_made_here(state_dir)
    check_links_are_ours(state_dir.expanduser())
    directory = Path(os.path.realpath(state_dir.expanduser()))
    check_socket_path(directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = "not a directory" if isinstance(error, (FileExistsError, NotADirectoryError)) else error.strerror
        raise Unusable(f'state directory "{directory}": cannot be created: {reason}') from error
    with ExitStack() as stack:
        try:
            folder = os.open(directory, FOLDER | os.O_NOFOLLOW)
            stack.callback(os.close, folder)
            check_folder_is_ours(directory, folder)
            lock = os.open(OWNER_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            stack.callback(os.close, lock)
        except OSError as error:
            raise Unusable(f'state directory "{directory}": is not writable: {error.strerror}') from error
        check_files_are_ours(directory, folder)
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            raise Unusable(f'"{directory / OWNER_LOCK}": it must be a regular file')
        if not _taken_soon(lock):
            owner = os.pread(lock, 32, 0).decode(errors="replace").partition("\n")[0] or "(just starting)"
            raise Conflict(f'state directory "{directory}" is in use by process {owner}')
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n{_mark(folder)}\n".encode(), 0)
        stack.enter_context(held(directory, folder))
        yield in_place(directory)


def check_was_made_here(state_dir: Path) -> None:
    """Raise `Unusable` unless `state_dir` is new, or what an earlier start here made.

    One that came with a repository or an archive is ours, and may have any data, secrets and settings in it: what runs
    on those is chosen by who made it. No copy of a folder has the number that its file system gave to the first.
    """
    if not state_dir.is_symlink() and (not state_dir.exists() or (state_dir.is_dir() and not any(state_dir.iterdir()))):
        return
    try:
        with open(os.open(state_dir / OWNER_LOCK, LOOKING), "rb") as lock:
            is_made_here = not state_dir.is_symlink() and _mark(state_dir).encode() in lock.read(64).split(b"\n")
    except OSError:
        is_made_here = False
    if not is_made_here:
        raise Unusable(
            f'state directory "{state_dir}": was not made here by imi-registry, or was moved; if you know it, name it '
            f'once: imi-registry up --state-dir "{state_dir.absolute()}"'
        )


def _mark(directory: Path | int) -> str:
    """What tells a folder from each copy of it."""
    return f"made here: {os.stat(directory).st_ino}"


def check_folder_is_ours(directory: Path, folder: int | None = None) -> None:
    """Raise `Unusable` unless `directory` is ours, and nobody else may write in it: who may can replace what is there.

    `folder` is its descriptor, where it is open. Raises `OSError`.
    """
    status = os.stat(directory if folder is None else folder)
    if status.st_uid not in owners():
        raise Unusable(
            f'state directory "{directory}": belongs to another user (uid {status.st_uid}); choose a folder of your own'
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o022:
        raise Unusable(
            f'state directory "{directory}": other users may write in it (mode {mode:04o}); '
            f'run: chmod go-w "{directory}"'
        )


def check_files_are_ours(directory: Path, folder: int | None = None) -> None:
    """Raise `Unusable` when something in `directory` is another user's: he would know our secrets or hold our data.

    `folder` is its descriptor, where it is open. Raises `OSError`.
    """
    ours = owners()
    for name in sorted(os.listdir(directory if folder is None else folder)):
        try:
            uid = os.stat(directory / name if folder is None else name, dir_fd=folder, follow_symlinks=False).st_uid
        except FileNotFoundError:
            continue  # a server that is ending has removed it
        if uid not in ours:
            raise Unusable(
                f'state directory "{directory}": "{name}" in it belongs to another user (uid {uid}); '
                "choose a folder of your own"
            )


def is_in_use(directory: Path) -> bool | None:
    """Whether a process owns it now; None when none ever did. No copy of the folder has this: it is a lock."""
    try:
        lock = os.open(directory / OWNER_LOCK, LOOKING)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _taken_soon(lock: int) -> bool:
    """Take the lock of an owner. Who only looks whether there is one (`is_in_use`) holds it for a moment."""
    deadline = time.monotonic() + LOOKING_SECONDS
    while not try_lock(lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def check_socket_path(directory: Path) -> None:
    """Raise `Invalid` when PostgreSQL clients could not name a socket under `directory`."""
    socket = directory / "run" / SOCKET
    length = len(os.fsencode(socket))
    if length > SOCKET_PATH_BYTES:
        raise Invalid(
            f'state directory "{directory}": its PostgreSQL socket would have a path of {length} bytes, '
            f"at most {SOCKET_PATH_BYTES} are allowed; choose a shorter path"
        )
    if str(socket).encode(errors="replace") != os.fsencode(socket):
        raise Invalid(f'state directory "{directory}": is not UTF-8, which the URL of its PostgreSQL must be')
    if "," in str(socket):
        raise Invalid(f'state directory "{directory}": has a comma, which separates hosts for PostgreSQL clients')


def secret(path: Path, needed_by: Path | None = None) -> str:
    """The secret in `path`, made on first use. Raises `Unusable` when it is lost but `needed_by` still relies on it."""
    with suppress(FileNotFoundError), open(path, "rb", opener=private) as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise Unusable(f'"{path}": other users may read or write it (mode {mode:04o}); run: chmod 600 "{path}"')
        return small_text(file).strip()
    if needed_by is not None and needed_by.exists():
        raise Unusable(f'"{path}" is missing but "{needed_by}" needs it; restore the file')
    return new_secret(path)


def new_secret(path: Path) -> str:
    """A secret that nobody knows yet, in `path` from now on."""
    made = secrets.token_hex(24)
    write_private(path, made)
    return made


def write_private(path: Path, text: str) -> None:
    """Write `path` with mode 0600, durably and all at once."""
    fresh = path.with_name(f"{path.name}.new")
    remove(fresh)
    with open(fresh, "w", encoding="utf-8", errors="surrogateescape", opener=private) as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    replace(fresh, path)


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
