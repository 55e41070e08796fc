"""Replay: any part of the history, the same events in the same order with the same bytes, wherever they are kept."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import orjson
import psycopg
import pytest

from registry.client.history import ask
from registry.client.replay import replay
from registry.concurrency.tasks import end
from registry.errors import Conflict, Invalid, NotFound, Unavailable
from registry.history.pages import HistoryLost, origin_subject
from registry.position import After, FromSequence, FromStart, Last, Position, Since
from tests.support.histories import row, write_disorderly
from tests.support.world import World


async def test_a_replay_from_the_start_is_the_stream_byte_for_byte(world: World) -> None:
    async with world.relay():
        world.write()
        await world.drained()

    stream = await world.published()
    told = await world.replayed()
    assert [(event.sequence, event.subject) for event in told] == [(one.sequence, one.subject) for one in stream]
    assert [orjson.loads(event.payload) for event in told] == [one.envelope for one in stream]
    assert len(told) > 10


async def test_a_replay_of_many_requests_keeps_to_one_consumer(world: World) -> None:
    with psycopg.connect(world.database) as conn:
        conn.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
        conn.execute("SELECT register_worktree(id, 'feat', 'w', 'w', '/w') FROM projects")
        conn.execute(
            "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
            " SELECT 'a', id, 'other', 'd' FROM worktrees, generate_series(1, 3500)"
        )
    async with world.relay():
        await world.drained()

    assert len(await world.replayed()) > 3500
    # One that is replaced stays until the server finds that nobody asks.
    assert await world.nats.jetstream().consumers_info(world.names.event_stream) == []


async def test_what_counted_the_last_ones_is_gone_soon(world: World) -> None:
    async with world.relay():
        world.write()
        await world.drained()

    assert len(await world.replayed(Last(3))) == 3
    async with asyncio.timeout(30):
        while await world.nats.jetstream().consumers_info(world.names.event_stream):
            await asyncio.sleep(0.1)


async def test_who_follows_behind_the_last_ones_is_told_that_there_are_no_more_now(world: World) -> None:
    caught_up = asyncio.Event()

    async def note() -> None:
        caught_up.set()

    async with world.relay():
        world.write()
        await world.drained()

    assert ".worktree." not in (await world.published())[-1].subject
    async with (
        asyncio.timeout(30),
        replay(world.nats, world.profile, Last(1), follow=True, caught_up=note, entity="worktree") as events,
    ):
        assert ".worktree." in (await anext(events)).subject
        following = asyncio.ensure_future(anext(events))
        await caught_up.wait()
        await end([following])


@pytest.mark.parametrize("first", [2, 7, 14, "all"])
async def test_what_the_stream_lost_comes_from_the_outbox_in_the_same_order_with_the_same_bytes(
    world: World, first: int | str
) -> None:
    async with world.relay():
        await write_disorderly(world)
        before = await world.replayed()
        ids = [event.position.outbox_id for event in before]
        assert ids != sorted(ids)

        async with world.history():
            await world.trim(len(before) + 1 if first == "all" else int(first))
            assert row(await world.replayed()) == row(before)
            world.write(1)
            await world.drained()
            assert row(await world.replayed())[: len(before)] == row(before)


async def test_a_token_goes_on_behind_its_event_from_everywhere(world: World) -> None:
    async with world.relay():
        await write_disorderly(world)
    before = await world.replayed()

    async with world.history():
        for first in (1, len(before) // 2, len(before) + 1):
            await world.trim(first)
            for index, event in enumerate(before):
                assert row(await world.replayed(After(str(event.position)))) == row(before[index + 1 :])


async def test_each_start_and_end(world: World) -> None:
    async with world.relay(), world.history():
        world.write()
        await world.drained()
        everything = row(await world.replayed())
        times = [datetime.fromisoformat(orjson.loads(payload)["time"]) for _, _, payload in everything]
        for first in (1, 5, len(everything) + 1):
            await world.trim(first)
            assert row(await world.replayed(FromSequence(4))) == everything[3:]
            assert row(await world.replayed(FromSequence(4), until=9)) == everything[3:9]
            assert row(await world.replayed(Last(6))) == everything[-6:]
            assert row(await world.replayed(Last(10_000))) == everything
            assert row(await world.replayed(Last(3), until=9)) == everything[6:9]
            assert row(await world.replayed(Since(times[8]))) == everything[8:]
            assert row(await world.replayed(until=times[8])) == everything[:8]
            assert row(await world.replayed(Since(datetime.now(UTC) + timedelta(hours=1)))) == []


async def test_filters_tell_the_same_events_from_the_stream_and_from_the_outbox(world: World) -> None:
    correlation = uuid4()

    async with world.relay(), world.history():
        projects = world.write()
        with psycopg.connect(world.database) as conn:
            conn.execute("SELECT set_config('imi.correlation_id', %s, true)", [str(correlation)])
            (worktree,) = conn.execute("SELECT id FROM worktrees WHERE agent_id = 'agent-1' LIMIT 1").fetchone() or (
                "",
            )
            conn.execute("SELECT log_activity('agent-9', %s, 'modified', 'text')", [worktree])
            conn.execute("UPDATE worktrees SET agent_id = NULL WHERE id = %s", [worktree])
        await world.drained()
        everything = await world.replayed()
        expected = {
            "entity": [e for e in everything if ".project." in e.subject],
            "action": [e for e in everything if e.subject.split(".")[4] == "created"],
            "project_id": [e for e in everything if e.subject.endswith(projects[1])],
            "worktree_id": [e for e in everything if str(worktree).encode() in e.payload],
            "agent_id": [e for e in everything if b'"agent-1"' in e.payload],
            "correlation_id": everything[-2:],
        }
        wanted = {
            "entity": "project",
            "action": "created",
            "project_id": projects[1],
            "worktree_id": str(worktree).upper(),
            "agent_id": "agent-1",
            "correlation_id": correlation,
        }
        for first in (1, 4, len(everything) + 1):
            await world.trim(first)
            for name, value in wanted.items():
                told = await world.replayed(**{name: value})
                assert row(told) == row(expected[name]), name
                assert 0 < len(told) < len(everything)
                assert row(await world.replayed(Last(1), **{name: value})) == row(expected[name][-1:]), name


async def test_a_cursor_that_was_set_back_doubles_nothing_in_the_record(world: World) -> None:
    """As when PostgreSQL forgets its last commits: the relay reads the stream's tail, in other batches than before."""
    async with world.relay(batch_size=2):
        await write_disorderly(world)
        before = await world.replayed()
    with psycopg.connect(world.database) as conn:
        conn.execute("UPDATE publisher_cursor SET stream_sequence = 0, published = '{}'")

    async with world.relay(), world.history():
        await world.drained()
        await world.trim(len(before) + 1)
        assert row(await world.replayed()) == row(before)


async def test_a_trimmed_stream_without_a_publisher_is_refused_and_says_what_to_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.client.replay.PATIENCE_SECONDS", 0.0)

    async with world.relay():
        world.write()
        await world.drained()
    await world.trim(5)
    with pytest.raises(Unavailable, match=r"no publisher answers.*start imi-registry up or serve"):
        await world.replayed()

    assert (await world.replayed(FromSequence(6)))[0].sequence == 6


async def test_a_record_that_lags_behind_the_stream_is_waited_for_not_taken_for_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.client.replay.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("publisher.history.service.RECORDED_SECONDS", 0.05)

    async with world.relay(batch_size=1):
        world.write()
        await world.drained()
        before = await world.replayed()
    last = before[-1].sequence
    await world.trim(last + 1)

    async with world.history():
        with psycopg.connect(world.database) as conn:
            conn.execute("DELETE FROM published_batch WHERE last_sequence = %s", [last])
            conn.execute("UPDATE publisher_cursor SET stream_sequence = stream_sequence - 1")
        with pytest.raises(Unavailable, match=f"is ahead of its publisher: sequence {last} is not recorded"):
            await world.replayed()
        assert row(await world.replayed(until=last - 1)) == row(before)[:-1]


async def test_a_position_whose_successors_were_removed_is_refused(world: World) -> None:
    async with world.relay(), world.history():
        world.write()
        await world.drained()
        everything = await world.replayed()
        await world.trim(8)

        with psycopg.connect(world.database) as conn:
            conn.execute("DELETE FROM published_batch WHERE last_sequence <= 6")
            conn.execute("UPDATE publisher_cursor SET forgotten_sequence = 6")

        with pytest.raises(HistoryLost, match=r"behind sequence 3, up to 6, are no longer kept"):
            await world.replayed(After(everything[2].position))


async def test_a_stream_that_was_created_anew_is_told_from_the_one_a_token_is_of(world: World) -> None:
    async with world.relay():
        world.write()
        await world.drained()
        last = (await world.replayed())[-1]
        await world.nats.jetstream().delete_stream(world.names.event_stream)
        await world.nats.jetstream().add_stream(name=world.names.event_stream, subjects=[world.names.event_subjects])

        with pytest.raises(Conflict, match=f"ends at sequence 0, but {last.sequence} was read from it"):
            await world.replayed(After(last.position))


@pytest.mark.parametrize(
    ("start", "wanted", "message"),
    [
        (FromSequence(0), {}, "sequence 0 is not 1 or more"),
        (Last(0), {}, "last 0 is not 1 or more"),
        (Since(datetime(2026, 1, 1)), {}, "has no time zone"),
        (After("nonsense"), {}, 'resume token "nonsense" is none'),
        (FromStart(), {"worktree_id": "x"}, 'worktree "x" is not a UUID'),
        (FromStart(), {"entity": "x"}, 'entity "x" is none of'),
        (FromStart(), {"follow": True, "until": 3}, "give follow or until, not both"),
        (FromStart(), {"until": 0}, "until sequence 0 is not 1 or more"),
        (FromSequence(99), {}, "sequence 99 is beyond the end of the stream, 0"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    world: World, start: object, wanted: dict[str, object], message: str
) -> None:
    await world.nats.jetstream().add_stream(name=world.names.event_stream, subjects=[world.names.event_subjects])
    with pytest.raises(Invalid, match=message):
        await world.replayed(start, **wanted)  # type: ignore[arg-type]


async def test_without_a_stream_it_says_so(world: World) -> None:
    with pytest.raises(
        NotFound, match=r"no stream .*start imi-registry up or serve; if there was one, imi-registry doctor"
    ):
        await world.replayed()


async def test_following_goes_on_into_live_events(world: World) -> None:
    async with world.relay():
        world.write()
        await world.drained()
        for start, first in ((FromStart(), 1), (Last(2), 0), (After(Position(3)), 4)):
            expected = len(await world.replayed()) + 4
            async with asyncio.timeout(20), replay(world.nats, world.profile, start, follow=True) as events:
                told = [await anext(events)]
                world.write(0, 0, 2)
                while told[-1].sequence < expected:
                    told.append(await anext(events))
            assert [event.sequence for event in told] == list(range(first or expected - 5, expected + 1))


async def test_a_time_that_is_none_or_of_no_zone_is_refused(world: World) -> None:
    async with world.history():
        for time in (b"2026-01-21T10:00:00", b"yesterday", b"", b"\xff"):
            with pytest.raises(Invalid, match="is none in RFC 3339"):
                await ask(world.nats, origin_subject(world.profile), time)
