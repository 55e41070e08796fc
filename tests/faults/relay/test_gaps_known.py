"""Beside many gaps everybody knows what is published: who takes over, who replays, exports or examines."""

from __future__ import annotations

from pathlib import Path

import orjson
import psycopg
import pytest
from psycopg import AsyncConnection

from publisher import doctor
from publisher.history import archive
from publisher.history.snapshot import snapshot_lines
from publisher.outbox import record
from publisher.outbox.connection import connect
from publisher.outbox.lead import try_lead
from registry.position import Position
from tests.support.outbox.gaps import KNOWN, idle, register, touch, until_published, write_with_gaps
from tests.support.world import World


@pytest.mark.parametrize("gaps", [2_000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_who_takes_over_thousands_of_gaps_knows_what_is_published(world: World, gaps: int) -> None:
    project = register(world, "busy")
    async with await AsyncConnection.connect(world.database, autocommit=True) as conn, idle(world) as long:
        await write_with_gaps(conn, project, gaps)
        async with world.relay():
            await until_published(world)
        async with world.relay():
            for _ in range(5):
                await write_with_gaps(conn, project, 1)
                await until_published(world)
        ((published, stored, sequence, complete),) = world.rows(KNOWN, world.stream)
        assert complete < sequence, "the record tells what is not in the set that is stored"
        assert len(published) - len(stored) == 5
        async with world.relay() as metrics:
            await touch(conn, project)
            await until_published(world)
            assert metrics.published == 1
            await long.commit()
            await world.assert_exactly_once(at_least=gaps + 7)


async def test_what_is_published_is_told_whole_beside_many_gaps(world: World, tmp_path: Path) -> None:
    """Replay, export, snapshot, state and doctor know what only the record has."""
    project = register(world, "busy")
    async with await AsyncConnection.connect(world.database, autocommit=True) as conn, idle(world) as long:
        async with world.relay():
            await write_with_gaps(conn, project, 200)
            await until_published(world)
        async with world.relay():  # who begins stores the whole set
            await touch(conn, project)
            await until_published(world)
        await touch(conn, project)
        events, waiting = world.rows("SELECT count(*), max(id) FROM outbox")[0]
        (last,) = world.rows("SELECT max(id) FROM outbox WHERE id < %s", waiting)[0]
        assert not any(last in part for part in world.rows(KNOWN, world.stream)[0][1]), "only the record tells it"

        async with world.history():
            assert len(await world.replayed()) == events - 1
        async with connect(world.database, "test") as reader:
            assert (await record.state(reader, world.stream, last)).is_published
            assert not (await record.state(reader, world.stream, waiting)).is_published
            lines = [line async for line in snapshot_lines(reader, world.stream)]
            assert Position.parse(orjson.loads(lines[0])["position"]).included == ((waiting, waiting + 1),)
            with archive.writing(tmp_path / "history.jsonl") as write:
                assert await archive.export_history(reader, world.settings(), write) == events
        told = [finding.text for finding in await doctor.examine(world.settings())]
        assert any("1 events wait" in text for text in told), told
        await long.commit()
    async with world.relay():
        await world.assert_exactly_once(at_least=events + 1)


async def test_a_cursor_set_back_beside_many_gaps_is_told_by_the_tail(world: World) -> None:
    project = register(world, "busy")
    async with await AsyncConnection.connect(world.database, autocommit=True) as conn, idle(world) as long:
        async with world.relay():
            await write_with_gaps(conn, project, 200)
            await until_published(world)
            await touch(conn, project)
            await until_published(world)
        query = "UPDATE publisher_cursor SET published = '{}', stream_sequence = 0 RETURNING stream"
        assert world.rows(query) == [(world.stream,)]
        async with world.relay():
            await touch(conn, project)
            await until_published(world)
        await long.commit()
    async with world.relay():
        await world.assert_exactly_once(at_least=203)


async def test_a_set_that_is_not_stored_holds_for_the_next_leader_only_as_far_as_its_sequence(database: str) -> None:
    """Records behind the cursor's sequence are not published for it: the tail tells them."""
    with psycopg.connect(database) as conn:
        conn.execute(
            "INSERT INTO publisher_cursor (stream, published, stream_sequence, complete_sequence)"
            " VALUES ('S', '{[1,3)}', 5, 2)"
        )
        conn.execute(
            "INSERT INTO published_batch (stream, last_sequence, ids)"
            " VALUES ('S', 2, '{\"[50,52)\"}'), ('S', 4, '{\"[7,8)\",\"[5,6)\"}'), ('S', 5, '{\"[9,10)\"}'),"
            " ('S', 6, '{\"[60,61)\"}'), ('T', 4, '{\"[70,71)\"}')"
        )
    async with connect(database, "test") as reader:
        known = await try_lead(reader, "S", "test")
    assert known is not None
    assert list(known.published) == [(1, 3), (5, 6), (7, 8), (9, 10)]
