"""PostgreSQL's queue of notifications is full: a login without any right listens, and idles in a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from publisher.doctor import examine
from publisher.embedded.postgres import postgres
from registry.database import migrate
from registry.database.errors import translated
from registry.errors import Unavailable
from tests.support.commands import envelope
from tests.support.databases import plain_role, url_of
from tests.support.postgres.queue import SMALL, filled_queue
from tests.support.world import World


@pytest.fixture
def database(state_dir: Path) -> Iterator[str]:
    """A registry on a server of its own: the queue is that of the whole server."""
    with postgres(state_dir, settings=SMALL) as server:
        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)
        yield server.url


async def test_who_fills_the_queue_of_notifications_delays_events_and_refuses_no_writer(
    world: World, database: str
) -> None:
    # given: a relay that rests, and a stranger who fills the queue from another database
    there = world.at(database=database)
    there.write()
    with plain_role(database) as role, filled_queue(url_of(database, "postgres", role)):
        async with there.relay(), there.applier():
            await there.assert_exactly_once()
            await until_armed(there)

            # then: writers commit, commands are carried out, all of it is published
            for number in range(20):
                there.rows("SELECT register_project(%s, %s)", f"q{number}", f"git@github.com:o/q{number}.git")
                data = {"name": "c", "remote_origin": f"git@github.com:o/c{number}.git"}
                assert (await there.ask("project.register", envelope("project.register", data)))["verdict"] == "applied"
            await there.assert_exactly_once(at_least=60)
            told = [one.text for one in await examine(there.settings()) if not one.is_well]
            assert any("queue of notifications is" in text for text in told), told

        # and who rings himself is told that waiting helps
        with psycopg.connect(database, autocommit=True) as conn, pytest.raises(Unavailable, match="too many"):
            ring(conn)


@pytest.mark.parametrize("rings", [True, False])
async def test_who_has_rung_cannot_commit_when_it_is_filled_before_that_and_who_does_not_ring_can(
    world: World, database: str, rings: bool
) -> None:
    """As docs/security.md tells it, with what a superuser says then for the whole database."""
    there = world.at(database=database)
    if not rings:
        with psycopg.connect(database) as superuser:
            name = sql.Identifier(superuser.info.dbname)
            superuser.execute(sql.SQL("ALTER DATABASE {} SET imi.doorbell = off").format(name))
    with plain_role(database) as role, psycopg.connect(database) as writer:
        async with there.relay():
            await until_armed(there)
            writer.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
            with filled_queue(url_of(database, "postgres", role)):
                if rings:
                    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="too many notifications"):
                        writer.commit()
                else:
                    writer.commit()
                await there.assert_exactly_once(at_least=0 if rings else 1)
    assert there.rows("SELECT count(*) FROM projects") == [(0 if rings else 1,)]


async def until_armed(there: World) -> None:
    """Wait until writers are asked to ring."""
    async with asyncio.timeout(60):
        while there.rows("SELECT pg_sequence_last_value('publisher_doorbell') = 1") != [(True,)]:
            await asyncio.sleep(0.01)


def ring(conn: psycopg.Connection[Any]) -> None:
    """As somebody else's trigger might."""
    with translated():
        conn.execute("NOTIFY imi_outbox")
