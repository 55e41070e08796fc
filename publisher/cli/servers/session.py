"""What commands work with: settings, the registry, a plain connection, the event loop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from publisher.cli.arguments.folders import expanded
from publisher.cli.servers.waiting import say_blocker
from publisher.outbox.on_blocked import ON_BLOCKED
from registry.concurrency.patience import wordless
from registry.concurrency.signals import ENDING, tell_loop
from registry.errors import Invalid, Unusable

if TYPE_CHECKING:
    from publisher.settings import Settings
    from registry.client import RegistryClient
    from registry.database import Registry

P = ParamSpec("P")
T = TypeVar("T")

READ_SECONDS = 60.0
"""A command that reads ends when PostgreSQL has worked on a statement for so long without a word."""
UP_FOLDER: ContextVar[Path | None] = ContextVar("UP_FOLDER", default=None)
"""The state directory given with --state-dir, if any."""
IS_FOLDER_NAMED: ContextVar[bool] = ContextVar("IS_FOLDER_NAMED", default=False)
"""Whether --state-dir was given to a command that starts the servers of `up` where it does not run."""


def reads(command: Callable[P, T]) -> Callable[P, T]:
    """A command that reads to answer a person. A lock of somebody else is waited for, and named."""

    @wraps(command)
    def answering(*args: P.args, **kwargs: P.kwargs) -> T:
        with wordless(READ_SECONDS):
            return command(*args, **kwargs)

    return answering


def settings_of(**overrides: object) -> Settings:
    """The settings of this run, with logging set up. None among `overrides` means not given."""
    from publisher import logs
    from publisher.settings import load

    settings = load(**overrides)
    logs.configure(settings.log_level)
    return settings


def required(settings: Settings, *names: str) -> None:
    """Raise `Invalid` naming the first of the settings `names` that is not given, or what is wrong beside it."""
    for name in names:
        if not getattr(settings, name):
            raise Invalid(f"setting {name}: missing; set {name.upper()} or give --{name.replace('_', '-')}")
    if "nats_url" in names:
        settings.nats_access.check()


def located(*needed: str, database_url: str | None = None, nats_url: str | None = None) -> Settings:
    """Settings with the URLs `needed`: those given, or else those of a running `imi-registry up`.

    With --state-dir they are of the one in that folder, whatever the environment says; without, what the environment
    does not name is of the one in IMI_STATE_DIR, or else in `.imi` here. Raises `Invalid` when there is none.
    """
    given = {"database_url": database_url, "nats_url": nats_url}
    folder = UP_FOLDER.get()
    if folder is not None:
        from publisher.embedded import endpoints

        running = endpoints.of_running(folder)
        settings = settings_of(**{name: url or running.get(name) for name, url in given.items()})
        return settings if nats_url else settings.at_other_nats(settings.nats_url)
    settings = settings_of(**given)
    missing = [name for name in needed if not getattr(settings, name)]
    if missing:
        running = _running_here()
        if "nats_url" in missing:
            settings = settings.at_other_nats(running.get("nats_url"))
        if "database_url" in missing:
            settings = settings.model_copy(update={"database_url": running.get("database_url")})
    required(settings, *needed)
    return settings


def _running_here() -> dict[str, str]:
    """The URLs of the `up` in IMI_STATE_DIR or `.imi`; none where neither is there."""
    from publisher.embedded import endpoints
    from publisher.embedded.state_dir import HERE

    named = os.environ.get("IMI_STATE_DIR")
    if named:
        return endpoints.of_running(expanded(Path(named)))
    if HERE.is_symlink() or HERE.exists():
        return endpoints.of_running(HERE, is_trusted=False)
    return {}


@asynccontextmanager
async def registry_client(settings: Settings, command: str) -> AsyncIterator[RegistryClient]:
    """A client of the registry that the settings name, for a command."""
    from registry.client import RegistryClient

    async with RegistryClient.connect(
        settings.nats_url or "",
        prefix=settings.prefix,
        profile=settings.profile,
        source=settings.source,
        grammar=settings.bloodbank_grammar,
        proposed=settings.bloodbank_proposed,
        name=f"imi-registry {command}",
        access=settings.nats_access,
        sender=settings.command_sender,
        host=settings.host,
    ) as client:
        yield client


def with_registry(
    work: Callable[[Registry], Awaitable[T]],
    database_url: str | None,
    actor: str | None = None,
    *,
    is_from_host: bool = True,
) -> T:
    """What `work` makes of the registry database; its writes are those of `actor`, or else of the user.

    It is asked from the host that the settings name, unless not `is_from_host`.
    Where it waits for a lock, the user is told behind whom.
    """
    from registry.database import Registry

    settings = located("database_url", database_url=database_url)

    async def session() -> T:
        url = settings.database_url or ""
        async with Registry.connect(url, max_connections=1, on_blocked=say_blocker) as registry:
            acting = registry.acting(actor=acting_as(actor))
            return await work(_on_host(acting, settings.host) if is_from_host else acting)

    return run(session())


def _on_host(registry: Registry, host: str | None) -> Registry:
    """`registry`, asked from the host of this name, which is this machine."""
    from publisher.cli.servers.machine import machine

    return registry if host is None else registry.on_host(host, machine())


def acting_as(*names: str | None) -> str:
    """The first of `names` that is given, else who runs this. Raises `Invalid` for one that is blank."""
    for name in names:
        if name is None:
            continue
        if not name.strip():
            raise Invalid(f'agent or actor "{name}": it must not be blank')
        return name
    return user_name()


def user_name() -> str:
    """Who runs this."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        return f"uid {os.getuid()}"


@contextmanager
def _nothing_given() -> Iterator[None]:
    """No value is given inside the block: one that is refused was there already, and is `Unusable`."""
    try:
        yield
    except Unusable:
        raise
    except Invalid as error:
        raise Unusable(str(error)) from error


@contextmanager
def database(database_url: str | None) -> Iterator[Any]:
    """A plain connection to the registry database. Where it waits for a lock, the user is told behind whom."""
    from publisher.cli.servers.waiting import blocking_told
    from registry.database.connection import connect_blocking

    url = located("database_url", database_url=database_url).database_url or ""
    with _nothing_given(), connect_blocking(url) as conn, blocking_told(url, conn.info.backend_pid):
        yield conn


@contextmanager
def database_with_schema(database_url: str | None) -> Iterator[Any]:
    """As `database`, of one that has the schema of this version. Raises `Conflict` for another schema or none."""
    from registry.database import migrate

    with database(database_url) as conn:
        migrate.check(conn)
        yield conn


def located_schema(database_url: str | None, *also: str, nats_url: str | None = None) -> Settings:
    """Settings with the URL of a database that has the schema of this version, and `also` others that are needed.

    Raises `Conflict` for a database with another schema or none, and what `located` raises.
    """
    settings = located("database_url", *also, database_url=database_url, nats_url=nats_url)
    with wordless(READ_SECONDS), database_with_schema(settings.database_url):
        return settings


def checked_schema(settings: Settings) -> None:
    """As `located_schema`, for who looks whether all is well: `Unavailable` says who has locked what is looked at."""
    from publisher.outbox.schema import check_schema

    with _nothing_given():
        run(check_schema(settings.database_url or ""), tells_blockers=False)


def run(work: Coroutine[Any, Any, T], *, tells_blockers: bool = True) -> T:
    """Run `work` on the fastest event loop there is; SIGTERM and SIGHUP cancel it, as Ctrl-C does.

    Where it waits for a lock in PostgreSQL the user is told behind whom, unless `work` says so in its own way.
    """
    runner: Callable[[Coroutine[Any, Any, T]], T]
    try:
        from uvloop import run as runner
    except ImportError:
        from asyncio import run as runner
    return runner(_until_ended(work, tells_blockers=tells_blockers))


async def _until_ended(work: Coroutine[Any, Any, T], *, tells_blockers: bool) -> T:
    """`work`, cancelled by a signal that is to end it: an exception out of a handler would leave connections open."""
    if tells_blockers:
        ON_BLOCKED.set(say_blocker)
    ended_by: list[int] = []
    handlers = {number: signal.getsignal(number) for number in ENDING}
    task = asyncio.current_task()

    def end(number: int) -> None:
        ended_by.append(number)
        if task is not None:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):  # SIGINT: the runner does it
        tell_loop(number, partial(end, number))
    try:
        return await work
    except asyncio.CancelledError:
        if ended_by:
            raise SystemExit(128 + ended_by[0]) from None
        raise
    finally:  # now, since the loop is closed next
        for number, handler in handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # as a service that has ended leaves them
                signal.signal(number, handler)
