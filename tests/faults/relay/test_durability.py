"""What is published is on disk first: a writer may commit without waiting for it, and PostgreSQL may crash."""

from __future__ import annotations

import psycopg

from tests.support.world import World

CHANGES = 20


async def test_an_event_of_a_writer_who_does_not_wait_for_the_disk_is_on_disk_when_it_is_in_the_stream(
    world: World,
) -> None:
    events = await world.nats.subscribe(world.names.event_subjects)
    async with world.relay():
        with psycopg.connect(world.database, autocommit=True) as writer:
            writer.execute("SET synchronous_commit = off")
            for number in range(CHANGES):
                with writer.transaction():
                    _register(writer, f"p{number}")
                    row = writer.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
                await events.next_msg(timeout=20)
                found = writer.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", row).fetchone()
                assert found == (True,), f"change {number} could still be lost"


async def test_an_event_of_a_transaction_that_ran_on_past_a_flush_is_on_disk_too(world: World) -> None:
    events = await world.nats.subscribe(world.names.event_subjects)
    async with world.relay():
        with (
            psycopg.connect(world.database, autocommit=True) as writer,
            psycopg.connect(world.database, autocommit=True) as other,
        ):
            for conn in (writer, other):
                conn.execute("SET synchronous_commit = off")
            for number in range(CHANGES):
                with writer.transaction():
                    _register(writer, f"long{number}")
                    _register(other, f"short{number}")
                    await events.next_msg(timeout=60)
                row = writer.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
                await events.next_msg(timeout=60)
                found = writer.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", row).fetchone()
                assert found == (True,), f"change {number} could still be lost"


def _register(conn: psycopg.Connection, name: str) -> None:
    conn.execute("SELECT register_project(%s, %s)", [name, f"git@github.com:a/{name}.git"])
