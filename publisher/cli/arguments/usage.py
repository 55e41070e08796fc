"""Questions before something is destroyed."""

from __future__ import annotations

import sys

from publisher.cli.terminal.text import say
from publisher.text import visible
from registry.concurrency.signals import raised_at_once
from registry.errors import RegistryError

YES = {"y", "yes"}


def confirm(question: str, yes: bool) -> None:
    """Ask on standard error, unless --yes was given: the output may go into a file.

    Raises `RegistryError` when the answer is no, or there is nobody to ask.
    """
    if yes:
        return
    with raised_at_once():
        print(f"{visible(question)} [y/N]: ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
    if not answer:
        say("")  # behind the question
        if not sys.stdin.isatty():
            raise RegistryError(f"{question} There is no terminal to ask at; give --yes")
    if answer.strip().lower() not in YES:
        raise RegistryError("not confirmed, nothing was done")
