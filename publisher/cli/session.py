"""What the commands of the command line share: options, settings, connections, output."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from registry.errors import Invalid

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from registry.database import Registry
    from registry.settings import Settings

T = TypeVar("T")

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
Actor = Annotated[
    str | None,
    typer.Option(
        "--actor", help="Who the events name; default: your user name.", envvar="IMI_ACTOR", show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Metadata = Annotated[
    str | None, typer.Option("--metadata", help="JSON object, merged by key with what is there.", show_default=False)
]


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


def attached(settings: Settings, state_dir: Path | None = None) -> Settings:
    """`settings`; URLs that are not given are those of the `imi-registry up` that runs in the state directory.

    That is `state_dir`, or else IMI_STATE_DIR, or else `.imi`.
    """
    import json
    import os

    if settings.database_url and settings.nats_url:
        return settings
    try:
        folder = (state_dir or Path(os.environ.get("IMI_STATE_DIR", ".imi"))).expanduser()
        found = json.loads((folder / "endpoints.json").read_text())
    except (OSError, ValueError):
        return settings
    return settings.model_copy(
        update={name: getattr(settings, name) or found.get(name) for name in ("database_url", "nats_url")}
    )


def with_registry(work: Callable[[Registry], Awaitable[T]], database_url: str | None, actor: str | None = None) -> T:
    """What `work` makes of the registry database; its writes are those of `actor`, or else of the user."""
    from registry.database import Registry

    settings = attached(settings_of(database_url=database_url))
    required(settings, "database_url")

    async def session() -> T:
        async with Registry.connect(settings.database_url or "", max_connections=1) as registry:
            return await work(registry.acting(actor=actor or user_name()))

    return run(session())


def user_name() -> str:
    """Who runs this."""
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        return f"uid {os.getuid()}"


def parsed(metadata: str | None) -> dict[str, Any] | None:
    """The JSON object given as --metadata. Raises `Invalid`."""
    import json

    if metadata is None:
        return None
    try:
        value = json.loads(metadata)
    except ValueError as error:
        raise Invalid(f"--metadata {metadata!r:.80}: is not JSON: {error}") from None
    except RecursionError:
        raise Invalid(f"--metadata {metadata!r:.80}: is nested too deep") from None
    if not isinstance(value, dict):
        raise Invalid(f"--metadata {metadata!r:.80}: must be a JSON object")
    return value


@contextmanager
def database(database_url: str | None) -> Iterator[Any]:
    """A plain connection to the registry database."""
    import psycopg

    from registry.database.connection import from_database

    settings = settings_of(database_url=database_url)
    required(settings, "database_url")
    try:
        with psycopg.connect(settings.database_url or "", autocommit=True, connect_timeout=5) as conn:
            yield conn
    except psycopg.Error as error:
        raise from_database(error) from error


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on the fastest event loop there is."""
    runner: Callable[[Coroutine[Any, Any, T]], T]
    try:
        from uvloop import run as runner
    except ImportError:
        from asyncio import run as runner
    return runner(work)


def line_printer(console: Console) -> Callable[[Text], None]:
    """Prints each text as exactly one line, cut at the width of the terminal."""
    return lambda line: console.print(line, no_wrap=True, overflow="ellipsis", crop=True)


def say(text: str) -> None:
    """Print a line for people, on standard error: output proper stays clean."""
    print(text, file=sys.stderr)
