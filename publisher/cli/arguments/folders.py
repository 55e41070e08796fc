"""Folders as they are typed."""

from __future__ import annotations

from pathlib import Path

from registry.errors import Invalid, Unusable


def expanded(path: Path) -> Path:
    """`path` with the home of `~` or `~user` in its place. Raises `Invalid` when there is none."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise Invalid(f'"{path}": "{path.parts[0]}" is no home that is known here') from None


def absolute(path: Path) -> Path:
    """The same, from the root on, as it is spelled. Raises `Unusable` in a folder that was removed."""
    try:
        return expanded(path).absolute()
    except FileNotFoundError:
        raise Unusable(f'"{path}": the current folder was removed') from None
