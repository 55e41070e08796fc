"""Two servers of PostgreSQL, one to replicate from and one to replicate to, and a pair of databases on them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from publisher.embedded.postgres import postgres
from registry.database import migrate
from tests.support.databases import url_of
from tests.support.replica.judge import assert_same, differences
from tests.support.servers.restartable import Restartable
from tests.support.services import POSTGRES_SETTINGS, wait_until

PATIENCE_SECONDS = 120
TEMPLATE = "registry_template"
SETTINGS = POSTGRES_SETTINGS | {
    "wal_level": "logical",
    "synchronous_commit": "on",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "max_worker_processes": "30",
    "max_logical_replication_workers": "20",
    "max_sync_workers_per_subscription": "4",
    "wal_retrieve_retry_interval": "200ms",
    "logging_collector": "on",
    "log_error_verbosity": "default",
}


class Sites(NamedTuple):
    """Both servers."""

    source: Restartable
    replica: Restartable


@contextmanager
def sites(folder: Path, source: Path | None = None, replica: Path | None = None) -> Iterator[Sites]:
    """Two servers, out of these folders of programs, each with a migrated database to clone others from."""
    with ExitStack() as stack:
        started = []
        for name, programs in {"source": source, "replica": replica}.items():
            (folder / name).mkdir()
            server = stack.enter_context(_server(folder / name, programs))
            with psycopg.connect(server.url, autocommit=True) as admin:
                admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
            with psycopg.connect(url_of(server.url, TEMPLATE)) as conn:
                migrate.apply(conn)
            started.append(server)
        yield Sites(*started)


def _server(folder: Path, programs: Path | None) -> Restartable:
    return Restartable(partial(postgres, folder, settings=SETTINGS, bin_dir=programs))


class Pair:
    """A registry, and one that is to be its replica."""

    def __init__(self, source: str, replica: str, slot: str) -> None:
        self.source = source
        self.replica = replica
        self.slot = slot

    def rows(self, url: str, query: str, values: object = None) -> list[Any]:
        """What a query of one of them returns."""
        with psycopg.connect(url, autocommit=True) as conn:
            cursor = conn.execute(query.encode(), values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def at_source(self, query: str) -> list[Any]:
        """What a query of the source returns."""
        return self.rows(self.source, query)

    def at_replica(self, query: str) -> list[Any]:
        """What a query of the replica returns."""
        return self.rows(self.replica, query)

    def as_applied(self, query: str) -> None:
        """Write into the replica as nobody but a superuser can, and who applies does."""
        with psycopg.connect(self.replica, autocommit=True) as conn:
            conn.execute("SET session_replication_role = replica")
            conn.execute(query.encode())

    def assert_same(self) -> None:
        """Wait until the replica is its source, to the last row; fail with what differs."""
        with suppress(AssertionError):
            wait_until(lambda: not differences(self.source, self.replica), PATIENCE_SECONDS)
        assert_same(self.source, self.replica)


@contextmanager
def pair(servers: Sites) -> Iterator[Pair]:
    """Two fresh databases, which are gone afterwards with what is between them."""
    name = f"r{secrets.token_hex(4)}"
    urls = [url_of(server.url, name) for server in servers]
    clone = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE))
    for server in servers:
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(clone)
    try:
        yield Pair(*urls, f"slot_{name}")
    finally:
        _forget(urls[1])
        for server in servers:
            with psycopg.connect(server.url, autocommit=True) as admin:
                _drop(admin, name)


def _forget(replica: str) -> None:
    with psycopg.connect(replica, autocommit=True) as conn:
        for (name,) in conn.execute(
            "SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = %s)",
            [conninfo_to_dict(replica)["dbname"]],
        ).fetchall():
            named = sql.Identifier(name)
            conn.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(named))
            conn.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(named))
            conn.execute(sql.SQL("DROP SUBSCRIPTION {}").format(named))


def _drop(admin: psycopg.Connection[Any], name: str) -> None:
    def unused() -> bool:
        with suppress(psycopg.errors.ObjectInUse):
            admin.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", [name]
            )
            return True
        return False

    wait_until(unused, PATIENCE_SECONDS)
    admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
