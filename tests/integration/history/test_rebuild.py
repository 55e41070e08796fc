"""A stream that was lost comes back out of the outbox: the same events, order and sequences, while writers go on."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from uuid import uuid4

import nats.errors
import psycopg
import pytest
from nats.js import JetStreamContext

from publisher.embedded.nats_server import nats_server
from publisher.history.rebuild import rebuild
from registry.errors import Conflict, NotFound, Unavailable
from registry.history.pages import Replayed
from registry.position import Last
from tests.support.histories import row, write_disorderly
from tests.support.nats.reading import connected
from tests.support.workload import writing
from tests.support.world import World


async def lose(world: World) -> None:
    await world.nats.jetstream().delete_stream(world.names.event_stream)


@pytest.mark.parametrize("is_recreated_by_a_relay", [False, True])
async def test_a_lost_stream_comes_back_with_the_same_bytes_order_and_sequences(
    world: World, is_recreated_by_a_relay: bool
) -> None:
    settings = world.settings()

    async with world.relay():
        await write_disorderly(world)
        before = await world.replayed()
    await lose(world)
    if is_recreated_by_a_relay:
        with pytest.raises(ExceptionGroup, match="unhandled"):  # the relay ends: the stream lost what was published
            async with world.relay():
                await asyncio.Event().wait()
    world.write(1)
    done = await rebuild(settings)
    assert (done.events, done.first_sequence, done.last_sequence) == (len(before), 1, len(before))
    assert row(await world.replayed()) == row(before)

    async with world.relay():
        await world.assert_exactly_once(at_least=len(before) + 1)


async def test_a_rebuild_while_writers_go_on_and_the_relay_waits(world: World) -> None:
    async with writing(world.database, writers=4, seed=5) as load:
        async with world.relay():
            await load.reach(commits=150)
        await lose(world)
        await rebuild(world.settings())
        async with world.relay():
            await load.reach(commits=100)

    async with world.relay():
        await world.assert_exactly_once(at_least=200)


async def test_an_interrupted_rebuild_goes_on_where_it_stopped(world: World) -> None:
    settings = world.settings()

    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        raise Interrupted

    async with world.relay(batch_size=1):
        world.write()
        await world.drained()
        before = await world.replayed()
    await lose(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("publisher.outbox.record.SCAN", 3)
        with pytest.raises(Interrupted):
            await rebuild(settings, interrupt)
    assert 0 < len(await world.replayed()) < len(before)
    await rebuild(settings)
    assert row(await world.replayed()) == row(before)


async def lost_with_messages_of_others(world: World, count: int) -> list[Replayed]:
    """Lose a stream in which somebody else wrote between events; what a replay of it told before."""
    async with world.relay():
        for _ in range(count):
            world.write(1)
            await world.drained()
            await world.nats.jetstream().publish(f"{world.prefix}.evt.v1.project.updated.-", b"{}")
        world.write(1)
        await world.drained()
        before = await world.replayed()
    await lose(world)
    return before


async def test_messages_of_others_leave_their_sequences_empty(world: World) -> None:
    before = await lost_with_messages_of_others(world, 3)
    await rebuild(world.settings())

    assert row(await world.replayed()) == row(before)
    assert before[-1].sequence == len(before) + 3


async def test_a_message_that_only_holds_a_place_does_not_stay_where_a_rebuild_was_cut_off(world: World) -> None:
    async def cut_off(*_: object) -> None:
        raise nats.errors.ConnectionClosedError

    before = await lost_with_messages_of_others(world, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JetStreamContext, "delete_msg", cut_off)
        with pytest.raises(Unavailable, match="connection closed"):
            await rebuild(world.settings())
    await rebuild(world.settings())

    assert row(await world.replayed()) == row(before)
    state = (await world.nats.jetstream().stream_info(world.stream)).state
    assert (state.messages, state.last_seq) == (len(before), before[-1].sequence)


async def refused(*_: object) -> None:
    """Of the first batch that is sent."""
    raise Unavailable("no room")


async def test_what_retention_removed_stays_away_and_sequences_stay(world: World) -> None:
    async with world.relay(batch_size=3):
        world.write()
        await world.drained()
        before = await world.replayed()
    with psycopg.connect(world.database) as conn:
        (forgotten,) = conn.execute("SELECT min(last_sequence) FROM published_batch").fetchone() or (0,)
        conn.execute("DELETE FROM published_batch WHERE last_sequence = %s", [forgotten])
        conn.execute("UPDATE publisher_cursor SET forgotten_sequence = %s", [forgotten])
    await lose(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("publisher.relay.completion.Completion.send", refused)
        with pytest.raises(Unavailable, match="no room"):
            await rebuild(world.settings())
    done = await rebuild(world.settings())
    assert done.first_sequence == forgotten + 1

    async with world.history():
        assert row(await world.replayed()) == row(before)[forgotten:]

    async with world.relay():
        world.write(1)
        await world.drained()
        assert (await world.replayed(Last(1)))[0].sequence > len(before)


async def test_a_stream_restored_from_an_older_backup_gets_only_what_it_lacks(world: World, state_dir: Path) -> None:
    with nats_server(state_dir) as server:
        async with world.at(nats_url=server.url).relay():
            world.write(1)
            await world.drained()
    backup = state_dir / "backup"
    shutil.copytree(state_dir / "nats", backup)

    with nats_server(state_dir) as server:
        async with connected(server.url) as client:
            there = world.at(nats_url=server.url, nats=client)
            async with there.relay():
                world.write()
                await world.drained()
                before = await there.replayed()
    shutil.rmtree(state_dir / "nats")
    backup.rename(state_dir / "nats")

    with nats_server(state_dir) as server:
        async with connected(server.url) as client:
            there = world.at(nats_url=server.url, nats=client)
            held = len(await there.replayed())

            done = await rebuild(there.settings())

            assert (done.events, row(await there.replayed())) == (len(before) - held, row(before))


@pytest.mark.parametrize("profile", ["bloodbank"], indirect=True)
@pytest.mark.usefixtures("profile")
async def test_an_event_of_a_lost_database_that_has_the_id_of_another_is_not_taken_for_it(world: World) -> None:
    async with world.relay():
        world.write(1)
        await world.drained()
    await world.delete_stream()
    for number in range(1, 4):
        headers = {"Imi-Outbox-Id": str(number), "Imi-Source": world.profile.source, "Nats-Msg-Id": str(uuid4())}
        await world.nats.jetstream().publish(world.foreign_subject, b"{}", headers=headers)

    done = await rebuild(world.settings())

    assert world.rows("SELECT count(*) FROM outbox") == [(done.events,)]


async def test_a_rebuild_is_refused_where_it_would_do_harm(world: World) -> None:
    settings = world.settings()

    with pytest.raises(NotFound, match="published nothing"):
        await rebuild(settings)
    async with world.relay():
        world.write()
        await world.drained()
        with pytest.raises(Conflict, match="a publisher leads"):
            await rebuild(settings)
    with pytest.raises(Conflict, match="lacks nothing"):
        await rebuild(settings)
    await world.nats.jetstream().purge_stream(world.names.event_stream)
    with pytest.raises(Conflict, match="lacks nothing that was published; if it was emptied"):
        await rebuild(settings)
    config = (await world.nats.jetstream().stream_info(world.names.event_stream)).config
    await lose(world)
    await world.nats.jetstream().add_stream(config)
    await world.nats.jetstream().publish(f"{world.prefix}.evt.v1.project.updated.-", b"{}")

    with pytest.raises(Conflict, match="another message than was published there"):
        await rebuild(settings)
