"""What the commands of the command line share: options, settings, connections, output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.errors import Invalid

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from registry.settings import Settings

StateDir = Annotated[
    Path, typer.Option("--state-dir", help="Folder that holds everything.", envvar="IMI_STATE_DIR", show_default=True)
]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="PostgreSQL URL; default: DATABASE_URL.", show_default=False)
]
NatsUrl = Annotated[str | None, typer.Option("--nats-url", help="NATS URL; default: NATS_URL.", show_default=False)]
HttpPort = Annotated[
    int | None, typer.Option("--http-port", help="Port of the status page; 0 takes a free one.", min=0, max=65535)
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text for people.")]


def settings_of(**overrides: object) -> Settings:
    """The settings of this run, with logging set up. None among `overrides` means not given."""
    from publisher import logs
    from registry.settings import load

    settings = load(**overrides)
    logs.configure(settings.log_level)
    return settings


def required(settings: Settings, *names: str) -> None:
    """Raise `Invalid` naming the first of the settings `names` that is not given."""
    for name in names:
        if getattr(settings, name) is None:
            raise Invalid(f"setting {name}: missing; set {name.upper()} or give --{name.replace('_', '-')}")


@contextmanager
def database(database_url: str | None) -> Iterator[Any]:
    """A plain connection to the registry database."""
    import psycopg

    from registry.errors import from_database

    settings = settings_of(database_url=database_url)
    required(settings, "database_url")
    try:
        with psycopg.connect(settings.database_url or "", autocommit=True, connect_timeout=5) as conn:
            yield conn
    except psycopg.Error as error:
        raise from_database(error) from error


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` on the fastest event loop there is."""
    runner: Callable[[Coroutine[Any, Any, None]], None]
    try:
        from uvloop import run as runner
    except ImportError:
        from asyncio import run as runner
    runner(work)


def line_printer(console: Console) -> Callable[[Text], None]:
    """Prints each text as exactly one line, cut at the width of the terminal."""
    return lambda line: console.print(line, no_wrap=True, overflow="ellipsis", crop=True)


def say(text: str) -> None:
    """Print a line for people, on standard error: output proper stays clean."""
    print(text, file=sys.stderr)
