"""The folder of a state directory, held open: files are opened in that very folder, and never through a link.

Who owns the folder above may move it away while servers run, and put one of his own in its place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from registry.errors import Unusable

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
MOST_LINKS = 40
MOST_BYTES = 64 * 1024
"""Of a file of one value, or some."""
_HELD: dict[Path, int] = {}
"""By its name, the descriptor of each folder that this process owns."""


@contextmanager
def held(directory: Path, folder: int) -> Iterator[None]:
    """Inside the block, what is opened under the name `directory` is opened in `folder`, its descriptor."""
    _HELD[directory] = folder
    try:
        yield
    finally:
        del _HELD[directory]


def in_place(directory: Path) -> Path:
    """`directory`, resolved, to name it to others. Raises `Unusable` where it is held, and is another folder by now."""
    if directory not in _HELD:
        return directory.resolve()
    try:
        is_there = os.path.samestat(os.lstat(directory), os.fstat(_HELD[directory]))
    except OSError:
        is_there = False
    if not is_there:
        raise Unusable(
            f'state directory "{directory}": was moved away, or another folder was put in its place, since the start; '
            "move it back, and see who may write in the folder above"
        )
    return directory


def private(path: str, flags: int) -> int:
    """An `opener` for `open`: it creates with mode 0600, follows no link and waits for no pipe. Raises `OSError`."""
    name, folder = _at(Path(path))
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as error:
        error.filename = path
        raise


def read_small(path: Path) -> str:
    """What is in a small file, by `private` and `small_text`."""
    with open(path, "rb", opener=private) as file:
        return small_text(file)


def small_text(file: IO[bytes]) -> str:
    """What is in a small file, which may have come with the folder. Raises `Unusable` for what `up` never wrote."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise Unusable(f'"{file.name}": it must be a regular file')
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise Unusable(f'"{file.name}": it has more than {MOST_BYTES} bytes')
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Unusable(f'"{file.name}": it must be UTF-8') from None


def replace(old: Path, new: Path) -> None:
    """Give a file of a state directory another name in it."""
    (old_name, folder), (new_name, _) = _at(old), _at(new)
    os.rename(old_name, new_name, src_dir_fd=folder, dst_dir_fd=folder)


def remove(path: Path) -> None:
    """Remove a file of a state directory, where it is there."""
    name, folder = _at(path)
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def listed(directory: Path) -> list[str]:
    """Names of what is in a state directory. Raises `OSError`."""
    return sorted(os.listdir(_HELD.get(directory, directory)))


def opened(directory: Path) -> int:
    """A descriptor of a state directory, which is the caller's to close. Raises `OSError`."""
    return os.dup(_HELD[directory]) if directory in _HELD else os.open(directory, FOLDER)


def _at(path: Path) -> tuple[str, int | None]:
    folder = _HELD.get(path.parent)
    return (str(path) if folder is None else path.name), folder


def check_links_are_ours(path: Path) -> None:
    """Raise `Unusable` when a link on the way to `path` is another user's: he chooses where it leads. Root may.

    So many links that nobody follows them raise it, too.
    """
    at, rest, links = Path("/"), [*reversed(path.absolute().parts)], 0
    while rest:
        part = rest.pop()
        here, at = at, at.parent if part == ".." else at / part
        try:
            leads_to, uid = os.readlink(at), os.lstat(at).st_uid
        except OSError:
            continue  # no link, or nothing there yet
        if uid not in (0, os.geteuid()):
            raise Unusable(
                f'state directory "{path}": the link "{at}" on the way belongs to another user (uid {uid}); '
                "name the folder that it leads to, if you know it"
            )
        at, links = here, links + 1
        if links > MOST_LINKS:
            raise Unusable(f'state directory "{path}": more than {MOST_LINKS} links are on the way')
        rest += reversed(Path(leads_to).parts)
