"""Lines of text on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def line_printer(console: Console) -> Callable[[Text], None]:
    """Prints each text as exactly one line, cut at the width of the terminal."""
    return lambda line: console.print(line, no_wrap=True, overflow="ellipsis", crop=True)


def say(text: str) -> None:
    """Print a line for people, on standard error: output proper stays clean."""
    print(text, file=sys.stderr)
