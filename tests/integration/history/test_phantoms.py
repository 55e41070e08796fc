"""Messages that the record does not name are looked at, but not those that a publisher at work is about to record."""

from __future__ import annotations

import psycopg
import pytest
from nats.aio.msg import Msg

from publisher.history import phantoms
from publisher.outbox.known import known_stream
from tests.support.world import World


@pytest.mark.parametrize("is_at_work", [True, False], ids=["at work", "at rest"])
async def test_what_is_not_recorded_is_looked_at_once_the_record_stands_still(
    world: World, monkeypatch: pytest.MonkeyPatch, is_at_work: bool
) -> None:
    # given three events in the stream, of which the cursor does not tell the last two yet
    async with world.relay():
        for number in range(3):
            world.rows("SELECT register_project(%s, %s)", f"p{number}", f"git@github.com:a/p{number}.git")
            await world.drained()
    world.rows("UPDATE publisher_cursor SET stream_sequence = 1 RETURNING 1")
    looked_at: list[Msg] = []

    async def look(request: Msg) -> None:
        looked_at.append(request)

    await world.nats.subscribe(f"$JS.API.STREAM.MSG.GET.{world.stream}", cb=look)

    async def recorded(conn: psycopg.AsyncConnection, stream: str) -> int:
        last = await as_it_is(conn, stream)
        if is_at_work:
            world.rows("UPDATE publisher_cursor SET stream_sequence = stream_sequence + 1 RETURNING 1")
        return last

    as_it_is = phantoms._recorded
    monkeypatch.setattr(phantoms, "_recorded", recorded)
    # when
    async with await psycopg.AsyncConnection.connect(world.database, autocommit=True) as conn:
        state = (await world.nats.jetstream().stream_info(world.stream)).state
        known = await known_stream(conn, world.stream)
        found = await phantoms.unknown_sequences(conn, world.nats, world.settings(), known, state)
    # then
    assert found == ([], 0)
    await world.nats.flush()
    assert len(looked_at) == (0 if is_at_work else 2)
