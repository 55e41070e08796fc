"""Commands that a group lists without importing them: the module of one is imported when it is looked up to be run.

What only names commands, as `--help` and the completion of their names, imports none; a command imports its own alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


class Deferred(TyperCommand):
    """A command, or a group of commands, as its group lists it: its name, and its line of help."""

    def __init__(self, name: str, place: str, line: str) -> None:
        """`place` is `module:what`, below `publisher.cli`: a function, or the `Typer` of a group."""
        super().__init__(name, help=line)
        self._called, self._line = name, line
        self.module, _, self._what = place.partition(":")
        self._loaded: Any = None

    def load(self) -> Any:
        """The command itself, built as typer builds one of a program that has no other."""
        if self._loaded is None:
            found = getattr(import_module(f"publisher.cli.{self.module}"), self._what)
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.callback()(_nothing)
            if isinstance(found, typer.Typer):
                alone.add_typer(found, name=self._called, help=self._line)
            else:
                alone.command(self._called)(found)
            self._loaded = loaded(get_command(alone)).commands[self._called]
        return self._loaded


class DeferringGroup(TyperGroup):
    """A group of commands all of which are deferred."""

    deferred: Iterable[Deferred] = ()

    def __init__(self, *, commands: Mapping[str, Any] | None = None, **attributes: Any) -> None:
        listed: dict[str, Any] = {str(one.name): one for one in self.deferred}
        super().__init__(commands=listed | dict(commands or {}), **attributes)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first of `args` names, imported: it is run next, or asked what may stand behind it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, loaded(command), rest


def loaded(command: Any) -> Any:
    """`command`, imported if it is deferred."""
    return command.load() if isinstance(command, Deferred) else command


def _nothing() -> None:
    """What a group does before its command."""
