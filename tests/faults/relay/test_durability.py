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
                    writer.execute("SELECT register_project(%s, %s)", [f"p{number}", f"git@github.com:a/p{number}.git"])
                    row = writer.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
                await events.next_msg(timeout=20)
                found = writer.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", row).fetchone()
                assert found == (True,), f"change {number} could still be lost"
