"""All commands of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from publisher.cli.arguments.deferred import loaded


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(loaded(child), (*path, name))
    if path and not hasattr(command, "commands"):
        yield path, command
