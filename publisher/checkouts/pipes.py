"""Named pipes where git expects files: it waits for somebody to write into one, without an end and without a word."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

IN_WORK_TREE = {".gitignore", ".gitattributes", ".gitmodules"}
"""Files that git reads wherever they lie in a work tree; any other it asks the file system for, and does not open."""
SETTINGS = r"^(core\.(excludesfile|attributesfile)|include\.path|includeif\..*\.path)$"
"""Settings that name a file which git reads."""
NOT_READ = {"hooks", "modules", "worktrees"}
"""Folders in the data of a repository that a question about it does not open."""
MOST_INCLUDES = 10
"""Files of the configuration that include each other, one in the other, before git refuses to go on."""

SettingsOf = Callable[[Path], Iterable[tuple[str, str]]]


def awaited(folder: Path, settings_of: SettingsOf) -> Path | None:
    """A named pipe that git reads when it is asked in `folder`, None where there is none.

    `settings_of` gives those of `SETTINGS` that stand in a file, without what that includes. It looks through the whole
    work tree: it is for a git that is late already.
    """
    with suppress(OSError):  # of a folder without the right to look into it nothing is known
        return next(filter(_is_pipe, _read(folder, settings_of)), None)
    return None


def _read(folder: Path, settings_of: SettingsOf) -> Iterator[Path]:
    """The files that git may read when it is asked in `folder`, if they are there."""
    top = next((one for one in (folder, *folder.parents) if (one / ".git").exists()), None)
    data = [*_data_of(folder if top is None else top)]
    configs = [*_configs_of_user(), *(one / name for one in data for name in ("config", "config.worktree"))]
    yield from configs
    yield from _of_user()
    for one in data:
        yield from _files_in_data(one)
    yield from _named(configs, settings_of, top or folder)
    if top is not None:
        yield from _lists_in(top)


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):  # not there, no right to look, or a name that can be none
        return False


def _data_of(top: Path) -> Iterator[Path]:
    """Where a repository keeps its data: of the work tree at `top`, what it shares, or of a bare one; else nowhere."""
    data = top / ".git"
    if data.is_file():
        data = top / _line_in(data).removeprefix("gitdir: ")
    if not data.is_dir() and (top / "objects").is_dir():
        data = top
    if data.is_dir():
        yield data
        if (shared := data / "commondir").is_file():
            yield data / _line_in(shared)


def _line_in(file: Path) -> str:
    return os.fsdecode(file.read_bytes()).rstrip("\n")


def _configs_of_user() -> Iterator[Path]:
    """Files of the configuration outside of a repository."""
    if os.environ.get("GIT_CONFIG_NOSYSTEM", "") in ("", "0", "false"):
        yield Path(os.environ.get("GIT_CONFIG_SYSTEM", "/etc/gitconfig"))
    if one := os.environ.get("GIT_CONFIG_GLOBAL"):
        yield Path(one)
    else:
        yield from (Path(os.path.expanduser("~/.gitconfig")), _xdg() / "config")


def _of_user() -> Iterator[Path]:
    yield from (_xdg() / "ignore", _xdg() / "attributes", Path("/etc/gitattributes"))


def _xdg() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")) / "git"


def _named(configs: Iterable[Path], settings_of: SettingsOf, top: Path) -> Iterator[Path]:
    """The files that settings name, and what is included by what is included."""
    for _ in range(MOST_INCLUDES):
        included = []
        for config in filter(Path.is_file, configs):
            for name, value in settings_of(config):
                is_include = name.startswith("include")
                file = (config.parent if is_include else top) / value
                included += [file] if is_include else []
                yield file
        configs = included


def _files_in_data(data: Path) -> Iterator[Path]:
    """What is neither a file nor a folder in the data of a repository."""
    for entry in _walk(data, lambda folder: folder.name not in NOT_READ):
        if not entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _lists_in(top: Path) -> Iterator[Path]:
    """The files of a work tree that git reads, but for links: those it leaves alone."""
    for entry in _walk(top, lambda folder: not (folder / ".git").exists() and folder.name != ".git"):
        if entry.name in IN_WORK_TREE and not entry.is_symlink():
            yield Path(entry.path)


def _walk(folder: Path, is_entered: Callable[[Path], bool]) -> Iterator[os.DirEntry[str]]:
    """All below `folder` that is no folder; what cannot be looked into is left out. No entry is asked about itself."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                listed = list(entries)
        except OSError:
            continue
        for entry in listed:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif is_entered(Path(entry.path)):
                waiting.append(Path(entry.path))
