"""A PostgreSQL with settings that the embedded one does not take, started as that one is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from publisher.embedded.account import Account
from publisher.embedded.postgres import POSTGRES_STOP
from publisher.embedded.process import launch, server_lock, stop
from tests.support.services import wait_until


@contextmanager
def server(
    folder: Path, binaries: Path, runner: Account, settings: Mapping[str, str], answers: Callable[[], bool]
) -> Iterator[None]:
    """The server whose data is in `folder`, run by this account, for the block; `answers` tells that it is up."""
    command = [str(binaries / "postgres"), "-D", str(folder / "postgres")]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with server_lock(folder / "postgres.lock", "PostgreSQL") as lock:
        running = launch("PostgreSQL", folder / "postgres.log", command, lock, POSTGRES_STOP, runner)
    try:
        wait_until(answers, seconds=60)
        yield
    finally:
        stop(running, folder / "postgres.lock", POSTGRES_STOP)
