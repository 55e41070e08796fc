"""What was typed and cannot be meant: exit code 2; and questions before something is destroyed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from publisher.text import visible
from registry.errors import Invalid


class UsageError(Invalid):
    """A value that no state of the registry could make right: the command line ends with exit code 2."""


@contextmanager
def reading_options() -> Iterator[None]:
    """What is `Invalid` in the block is a mistake in what was typed."""
    try:
        yield
    except UsageError:
        raise
    except Invalid as error:
        raise UsageError(str(error)) from None


def confirm(question: str, yes: bool) -> None:
    """Ask, unless --yes was given. Raises `Invalid` when the answer is no, or there is nobody to ask."""
    if yes:
        return
    try:
        is_confirmed = typer.confirm(visible(question))
    except typer.Abort:
        if not sys.stdin.isatty():
            raise Invalid(f"{question} There is no terminal to ask at; give --yes") from None
        is_confirmed = False
    if not is_confirmed:
        raise Invalid("not confirmed, nothing was done")
