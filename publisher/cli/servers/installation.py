"""The servers that a command works on: given by URL, or those of `imi-registry up` in its state directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from publisher.cli.servers.session import IS_FOLDER_NAMED, database, located, required, settings_of
from registry.concurrency.patience import wordless
from registry.concurrency.signals import ignore_ending
from registry.errors import Conflict, Invalid, Unusable

if TYPE_CHECKING:
    from publisher.embedded.supervised import Supervised
    from publisher.settings import Settings


@contextmanager
def embedded(
    state_dir: Path, *, meanwhile: Callable[[], object] | None = None, **overrides: object
) -> Iterator[tuple[Settings, list[Supervised], Callable[[Settings, str], None]]]:
    """Embedded servers in `state_dir`, migrated; the settings that name them; and the writer of `endpoints.json`.

    `meanwhile` is called in another thread while they start.

    Raises `Unusable` before anything is made where the extra `embedded` is not installed.
    """
    from publisher.embedded.binaries import check_installed
    from publisher.embedded.endpoints import published
    from publisher.embedded.nats_server import nats_server
    from publisher.embedded.postgres import postgres
    from publisher.embedded.state_dir import owned
    from publisher.embedded.supervised import Supervised, together

    check_installed()
    with owned(state_dir) as owned_dir, published(owned_dir) as publish, ExitStack() as stack:
        db_server, broker = Supervised(partial(postgres, owned_dir)), Supervised(partial(nats_server, owned_dir))
        stack.enter_context(together(db_server, broker, meanwhile=meanwhile))
        from registry.database import migrate  # and not while nothing is started yet

        with wordless(None), database(db_server.url) as conn:
            migrate.apply(conn, afterwards=True)  # the folder has one owner, so nothing else runs
        settings = settings_of(database_url=db_server.url, **overrides).at_other_nats(broker.url)
        try:
            yield settings, [db_server, broker], publish
        finally:
            ignore_ending()


@contextmanager
def installation(
    state_dir: Path, *needed: str, database_url: str | None, nats_url: str | None = None, may_be_new: bool = False
) -> Iterator[Settings]:
    """Settings with the URLs `needed`: as given, or else of `up` in `state_dir`, whether it runs or not.

    With --state-dir alone those of the environment do not count. Where `up` does not run, its servers are started for
    the block; `may_be_new` makes the folder, too. Raises `Invalid` when there are no servers, `Conflict` when `up` is
    just starting.
    """
    from publisher.embedded import endpoints

    is_named = is_folder_meant(database_url, nats_url)
    settings = settings_of(database_url=database_url, nats_url=nats_url)
    is_given = not is_named and bool(settings.database_url or settings.nats_url)
    has_servers = may_be_new or os.path.isdir(state_dir / "postgres")  # False, too, where it cannot be seen
    with ExitStack() as stack:
        if is_given:
            settings = located(*needed, database_url=database_url, nats_url=nats_url)
        elif not has_servers:
            unset = "" if is_named else ", and DATABASE_URL is not set"
            raise Unusable(f'"{state_dir}" is not the state directory of an imi-registry up{unset}')
        else:
            try:
                settings, *_ = stack.enter_context(embedded(state_dir))
            except Conflict as conflict:
                try:
                    running = endpoints.of_running(state_dir)
                    settings = settings_of(database_url=running["database_url"]).at_other_nats(running["nats_url"])
                except Invalid:
                    raise conflict from None
        required(settings, *needed)
        yield settings


def is_folder_meant(*urls: str | None) -> bool:
    """Whether --state-dir says where the servers are: it was given, and none of the `urls` was given beside it."""
    return IS_FOLDER_NAMED.get() and not any(urls)
