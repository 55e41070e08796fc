"""A login of the server, without CONNECT on the registry, fills the table of locks, which all its databases share.

Nobody can write then, nor connect. Nothing is lost by it, and all goes on by itself once he has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import NamedTuple

import psycopg
import pytest

from publisher.embedded.postgres import postgres
from publisher.outbox.connection import READER, connect
from publisher.outbox.rows import COLUMNS, with_data
from registry.database import migrate
from registry.errors import Unavailable
from registry.events.message import OutboxRow
from tests.support.commands import envelope
from tests.support.databases import new_database, plain_role
from tests.support.services import POSTGRES_SETTINGS, scratch_directory, wait_until
from tests.support.world import World

READ = f"SELECT {COLUMNS} FROM (SELECT outbox.*, NULL AS short_data FROM outbox) AS event"  # noqa: S608  # constants
SETTINGS = POSTGRES_SETTINGS | {"max_connections": "60"}
LOCKS = "SELECT pg_advisory_lock(%s, number) FROM generate_series(1, %s) AS number"


class Server(NamedTuple):
    """A registry, and on the same server a database of somebody who may not connect to it."""

    registry: str
    elsewhere: str


@pytest.fixture
def server() -> Iterator[Server]:
    with (
        scratch_directory() as directory,
        postgres(directory, settings=SETTINGS) as own,
        plain_role(own.url) as owner,
        plain_role(own.url) as stranger,
        new_database(own.url, owner) as registry,
        new_database(own.url, stranger) as elsewhere,
    ):
        with psycopg.connect(registry) as conn:
            migrate.apply(conn)
            conn.execute(f"REVOKE CONNECT ON DATABASE {conn.info.dbname} FROM PUBLIC".encode())
        yield Server(registry, elsewhere)


@contextmanager
def no_lock_left(url: str) -> Iterator[None]:
    """All that the table of locks has room for is one session's inside the block."""
    with psycopg.connect(url, autocommit=True) as conn:
        for size in (1000, 100, 10, 1):  # of a statement that fails some locks stay
            with suppress(psycopg.errors.OutOfMemory):
                for turn in count():
                    conn.execute(LOCKS, [turn * 10_000 + size, size])
        yield
    wait_until(lambda: can_connect(url))  # the server ends a session a moment later


def can_connect(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


async def test_while_the_table_of_locks_is_full_all_wait_and_nothing_is_lost(world: World, server: Server) -> None:
    there = world.at(database=server.registry)
    async with there.relay(), there.applier() as commands:
        there.write()
        await there.drained()
        data = {"name": "p", "remote_origin": "git@github.com:o/p.git"}
        with psycopg.connect(there.database, autocommit=True) as writer:
            # when
            with no_lock_left(server.elsewhere):
                with pytest.raises(psycopg.errors.OutOfMemory):
                    writer.execute("SELECT register_project('q', 'git@github.com:o/q.git')")
                assert not can_connect(there.database)
                asking = asyncio.create_task(there.ask("project.register", envelope("project.register", data)))
                async with asyncio.timeout(60):
                    while not commands.interrupted:
                        await asyncio.sleep(0.01)
            # then
            writer.execute("SELECT register_project('q', 'git@github.com:o/q.git')")
        assert (await asking)["verdict"] == "applied"
        await there.assert_exactly_once()
        assert commands.dead_letters == 0


async def test_an_event_keeps_its_data_when_it_is_read_while_the_table_is_full(server: Server) -> None:
    with psycopg.connect(server.registry) as owner:
        owner.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
        owner.commit()
        (found,) = owner.execute(READ, {"short": -1}).fetchall()
        owner.execute("LOCK TABLE outbox IN SHARE MODE")  # so that a reader's own lock needs a place in the table, too
        async with connect(server.registry, "imi-registry reading", READER) as reader:
            row = OutboxRow(*found)
            with no_lock_left(server.elsewhere), pytest.raises(Unavailable, match="out of shared memory"):
                await with_data(reader, row, 2**20)
            assert (await with_data(reader, row, 2**20)).data is not None
