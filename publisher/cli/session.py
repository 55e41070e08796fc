"""What commands work with: settings, the registry, a plain connection, the event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from registry.errors import Invalid

if TYPE_CHECKING:
    from publisher.settings import Settings
    from registry.database import Registry

T = TypeVar("T")


def settings_of(**overrides: object) -> Settings:
    """The settings of this run, with logging set up. None among `overrides` means not given."""
    from publisher import logs
    from publisher.settings import load

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


@contextmanager
def database(database_url: str | None) -> Iterator[Any]:
    """A plain connection to the registry database."""
    from registry.database.connection import connect_blocking

    settings = settings_of(database_url=database_url)
    required(settings, "database_url")
    with connect_blocking(settings.database_url or "") as conn:
        yield conn


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on the fastest event loop there is."""
    runner: Callable[[Coroutine[Any, Any, T]], T]
    try:
        from uvloop import run as runner
    except ImportError:
        from asyncio import run as runner
    return runner(work)
