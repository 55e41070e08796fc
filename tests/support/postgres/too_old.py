"""A PostgreSQL that is too old for the registry, and so for the way in which the embedded one is started."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from publisher.embedded.account import account
from publisher.embedded.process import GUARD, launch, server_lock
from tests.support.postgres.by_hand import server
from tests.support.postgres.postgres14 import binaries_of_13
from tests.support.services import scratch_directory

SETTINGS = {"port": "5432", "listen_addresses": "", "fsync": "off"}


@contextmanager
def postgres_13() -> Iterator[str]:
    """URL of its database `postgres`, by a socket, for the block."""
    with scratch_directory() as folder:
        data, run, log = folder / "postgres", folder / "run", folder / "postgres.log"
        run.mkdir(mode=0o700)
        data.mkdir(mode=0o700)
        runner, binaries = account(folder, binaries_of_13(), GUARD)
        runner.own(data, run)
        with server_lock(folder / "postgres.lock", "PostgreSQL") as lock:
            making = [str(binaries / "initdb"), "-D", str(data), "-U", "imi", "--auth=trust", "--no-sync"]
            initdb = launch("initdb", log, making, lock, [(signal.SIGTERM, 5.0)], runner)
            assert initdb.wait(120), "initdb does not end"
            assert initdb.status == 0, log.read_text()
        url = f"postgresql:///postgres?host={run}&port=5432&user=imi"
        settings = SETTINGS | {"unix_socket_directories": str(run)}
        with server(folder, binaries, runner, settings, lambda: _answers(url)):
            yield url


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url):
            return True
    except psycopg.OperationalError:
        return False
