"""Lines on the terminal or in a pipe: the one place where text from outside is made safe to look at."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from publisher.text import visible, visible_json

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.text import Text

UNLIMITED = 100_000
"""Columns of what is no terminal: a program that reads a line wants all of it."""


def console(*, quiet: bool = False) -> Console:
    """Standard output. Lines are as long as they are unless it is a terminal, or COLUMNS sets a width."""
    from rich.console import Console

    is_limited = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, markup=False, emoji=False, quiet=quiet, width=None if is_limited else UNLIMITED)


def safe(text: Text | str) -> Text:
    """`text` on one line with its control characters visible; its colours are kept where it has none."""
    from rich.text import Text

    if isinstance(text, str):
        return Text(visible(text))
    plain = visible(text.plain)
    return text if plain == text.plain else Text(plain, text.style)


def line_printer(out: Console) -> Callable[[Text], None]:
    """Prints each text as exactly one line, cut at the width of the terminal."""
    return lambda line: out.print(safe(line), no_wrap=True, overflow="ellipsis", crop=True)


def whole_line_printer(out: Console) -> Callable[[Text], None]:
    """Prints each text as one line with nothing cut: a terminal that is too narrow breaks it."""
    return lambda line: out.print(safe(line), soft_wrap=True)


def letters(count: int) -> str:
    """So many dead letters, in words."""
    return "1 dead letter" if count == 1 else f"{count:,} dead letters"


def say(text: str) -> None:
    """Print a line for people, on standard error: output proper stays clean."""
    print(visible(text), file=sys.stderr)


def write(text: str) -> None:
    """Print a line of output for people."""
    print(visible(text), flush=True)


def emit_json(value: BaseModel | Mapping[str, Any] | Sequence[Any] | None) -> None:
    """Print a value, or a model, or some of these, as one line of JSON, with all digits of its numbers."""
    from registry import exact

    emit_document(exact.dumps(_plain(value)).decode())


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.model_dump() if hasattr(value, "model_dump") else value


def emit_document(document: str) -> None:
    """Print a JSON document, that reads the same with its control characters escaped."""
    print(visible_json(document, sys.stdout.encoding or "utf-8"), flush=True)


def emit_path(path: str) -> None:
    """Print a path: for a program each byte as it is, and on a terminal with its control characters visible."""
    if sys.stdout.isatty():
        write(path)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{path}\n".encode())
    sys.stdout.buffer.flush()
