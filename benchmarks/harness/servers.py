"""The servers of a run: PostgreSQL and nats-server from their wheels, in a folder that goes away."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import psycopg
from nats.aio.client import Client
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from benchmarks.harness.compiled import compile_ours
from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from registry.database import migrate
from registry.subjects import Names

SERVE = (sys.executable, "-m", "publisher", "serve", "--http-port", "0")
"""`imi-registry serve`, as every benchmark starts it."""
POSTGRES_SETTINGS = {
    "max_connections": "200",
    "max_wal_size": "8GB",  # no checkpoint in the middle of a round
    "checkpoint_timeout": "1h",
    "shared_preload_libraries": "pg_stat_statements",
}
"""What differs from the settings of `imi-registry up`; commits are as durable as there."""


@dataclass(frozen=True)
class Servers:
    """Where this run's servers are."""

    admin_url: str
    nats_url: str

    @contextmanager
    def database(self) -> Iterator[str]:
        """URL of a new, migrated database; dropped afterwards."""
        name = f"bench_{secrets.token_hex(4)}"
        identifier = sql.Identifier(name)
        parts = conninfo_to_dict(self.admin_url) | {"dbname": name}
        url = f"postgresql:///{parts.pop('dbname')}?{urlencode(parts, quote_via=quote)}"
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
            try:
                with psycopg.connect(url) as conn:
                    migrate.apply(conn)
                yield url
            finally:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))

    def serve_environment(self, database_url: str, prefix: str) -> dict[str, str]:
        """What `SERVE` is told of its servers."""
        return {
            "DATABASE_URL": database_url,
            "NATS_URL": self.nats_url,
            "IMI_PREFIX": prefix,
            "IMI_LOG_LEVEL": "info",
            "IMI_CANARY_SECONDS": "0",  # whose events would be counted
        }

    @asynccontextmanager
    async def service(self, database_url: str, prefix: str) -> AsyncIterator[int]:
        """`imi-registry serve` as a user runs it, once it is ready; yields its process id."""
        async with self.console(database_url, prefix) as (process_id, _):
            yield process_id

    @asynccontextmanager
    async def console(self, database_url: str, prefix: str) -> AsyncIterator[tuple[int, str]]:
        """The same; yields the URL of its pages, too."""
        process = await asyncio.create_subprocess_exec(
            *SERVE,
            env=os.environ | self.serve_environment(database_url, prefix),
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        told = []
        async for line in process.stderr:
            told.append(line.decode())
            if '"ready"' in told[-1]:
                http_url = orjson.loads(told[-1])["http_url"]
                break
        else:
            raise RuntimeError(f"serve ended: {''.join(told)}")
        reading = asyncio.create_task(_discard(process.stderr))
        try:
            yield process.pid, http_url
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()
            await reading


@contextmanager
def running() -> Iterator[Servers]:
    """Both servers, for the length of the block; what is started on them is compiled."""
    compile_ours()
    with (
        tempfile.TemporaryDirectory(prefix="imi-bench-") as folder,
        postgres(Path(folder), settings=POSTGRES_SETTINGS) as database,
        nats_server(Path(folder)) as broker,
    ):
        yield Servers(database.url, broker.url)


def new_prefix() -> str:
    """A subject prefix, hence a stream and a cursor, of one round's own."""
    return f"b{secrets.token_hex(4)}"


async def fill_seconds(client: Client, prefix: str, messages: int, timeout_seconds: float = 600) -> float:
    """Wait until the prefix's event stream holds `messages`; returns the time between its first and last, in seconds.

    The times are the server's own, so that no start of a process is in them.
    """
    state = await reached(client, prefix, messages, timeout_seconds)
    return (server_time(state["last_ts"]) - server_time(state["first_ts"])).total_seconds()


async def reached(
    client: Client, prefix: str, messages: int, timeout_seconds: float = 600, poll_seconds: float = 0.05
) -> dict[str, Any]:
    """Wait until the prefix's event stream holds `messages`, or more; returns its own account then."""
    subject = f"$JS.API.STREAM.INFO.{Names(prefix).event_stream}"
    async with asyncio.timeout(timeout_seconds):
        while True:
            state: dict[str, Any]
            state = orjson.loads((await client.request(subject, timeout=5)).data).get("state", {"messages": 0})
            if state["messages"] >= messages:
                return state
            await asyncio.sleep(poll_seconds)


async def drop_stream(client: Client, prefix: str) -> None:
    """Delete the prefix's event stream and what it stores."""
    await client.jetstream().delete_stream(Names(prefix).event_stream)


def server_time(text: str) -> datetime:
    """A time as nats-server writes it, in nanoseconds; Python reads microseconds."""
    return datetime.fromisoformat(text[:26].rstrip("Z").ljust(26, "0") + "+00:00")


async def _discard(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass
