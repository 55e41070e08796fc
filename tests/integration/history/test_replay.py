"""Replay: any part of the history, the same events in the same order with the same bytes, wherever they are kept."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import orjson
import psycopg
import pytest
from nats.aio.client import Client

from publisher.settings import load, profile_of
from registry.client.replay import replay
from registry.errors import Conflict, Invalid, NotFound, Unavailable
from registry.history.pages import HistoryLost, Replayed
from registry.position import After, FromSequence, FromStart, Last, Position, Since
from registry.subjects import Names
from tests.support.histories import replayed, running_history, trim
from tests.support.relays import published, running_relay, settings_for, until_drained


def write(database: str, projects: int = 2, worktrees: int = 2, renames: int = 3) -> list[str]:
    """Some history, out of the order of ids: a transaction that began first commits last. Returns project ids."""
    with psycopg.connect(database, autocommit=True) as conn:
        ids = []
        for number in range(projects):
            origin = f"git@github.com:replay/{uuid4().hex}.git"
            (project,) = conn.execute("SELECT register_project(%s, %s)", [f"p{number}", origin]).fetchone() or ("",)
            ids.append(str(project))
            for worktree in range(worktrees):
                name = f"w{worktree}"
                query = "SELECT register_worktree(%s, 'feat', %s, %s, %s, %s)"
                conn.execute(query, [project, name, f"feat/{name}", f"/r/{project}/{name}", f"agent-{worktree}"])
        for number in range(renames):
            conn.execute("UPDATE projects SET description = %s", [f"number {number}"])
    return ids


def row(events: list[Replayed]) -> list[tuple[int, str, bytes]]:
    """What must be the same wherever an event comes from."""
    return [(event.sequence, event.subject, event.payload) for event in events]


async def write_disorderly(database: str, prefix: str) -> None:
    """The first transaction to take ids commits when the others are published: its events come last."""
    async with await psycopg.AsyncConnection.connect(database) as late:
        await late.execute(
            "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('late','l/','l-')"
        )
        await asyncio.to_thread(write, database)
        async with asyncio.timeout(10), await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
            query = "SELECT count(*) FROM outbox WHERE NOT EXISTS (SELECT FROM publisher_cursor WHERE published @> id)"
            while (await (await conn.execute(query)).fetchone()) != (0,):
                await asyncio.sleep(0.01)  # the cursor tells nobody when it moves
    await asyncio.to_thread(write, database, 1)
    await until_drained(database, prefix)


async def test_a_replay_from_the_start_is_the_stream_byte_for_byte(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix):
        write(database)
        await until_drained(database, prefix)
    stream = await published(nats, prefix)
    told = await replayed(nats, prefix)
    assert [(event.sequence, event.subject) for event in told] == [(one.sequence, one.subject) for one in stream]
    assert [orjson.loads(event.payload) for event in told] == [one.envelope for one in stream]
    assert len(told) > 10


async def test_a_replay_of_many_requests_keeps_to_one_consumer(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
        conn.execute("SELECT register_worktree(id, 'feat', 'w', 'w', '/w') FROM projects")
        conn.execute(
            "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
            " SELECT 'a', id, 'other', 'd' FROM worktrees, generate_series(1, 3500)"
        )
    async with running_relay(database, nats_url, prefix):
        await until_drained(database, prefix)
    assert len(await replayed(nats, prefix)) > 3500
    # One that is replaced stays until the server finds that nobody asks.
    assert await nats.jetstream().consumers_info(Names(prefix).event_stream) == []


@pytest.mark.parametrize("first", [2, 7, 14, "all"])
async def test_what_the_stream_lost_comes_from_the_outbox_in_the_same_order_with_the_same_bytes(
    database: str, nats_url: str, prefix: str, nats: Client, first: int | str
) -> None:
    async with running_relay(database, nats_url, prefix):
        await write_disorderly(database, prefix)
        before = await replayed(nats, prefix)
        ids = [event.position.outbox_id for event in before]
        assert ids != sorted(ids)
        async with running_history(settings_for(database, nats_url, prefix)):
            await trim(nats, prefix, len(before) + 1 if first == "all" else int(first))
            assert row(await replayed(nats, prefix)) == row(before)
            write(database, 1)
            await until_drained(database, prefix)
            assert row(await replayed(nats, prefix))[: len(before)] == row(before)


async def test_a_token_goes_on_behind_its_event_from_everywhere(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix):
        await write_disorderly(database, prefix)
    before = await replayed(nats, prefix)
    async with running_history(settings_for(database, nats_url, prefix)):
        for first in (1, len(before) // 2, len(before) + 1):
            await trim(nats, prefix, first)
            for index, event in enumerate(before):
                assert row(await replayed(nats, prefix, After(str(event.position)))) == row(before[index + 1 :])


async def test_each_start_and_end(database: str, nats_url: str, prefix: str, nats: Client) -> None:
    async with running_relay(database, nats_url, prefix), running_history(settings_for(database, nats_url, prefix)):
        write(database)
        await until_drained(database, prefix)
        everything = row(await replayed(nats, prefix))
        times = [datetime.fromisoformat(orjson.loads(payload)["time"]) for _, _, payload in everything]
        for first in (1, 5, len(everything) + 1):
            await trim(nats, prefix, first)
            assert row(await replayed(nats, prefix, FromSequence(4))) == everything[3:]
            assert row(await replayed(nats, prefix, FromSequence(4), until=9)) == everything[3:9]
            assert row(await replayed(nats, prefix, Last(6))) == everything[-6:]
            assert row(await replayed(nats, prefix, Last(10_000))) == everything
            assert row(await replayed(nats, prefix, Since(times[8]))) == everything[8:]
            assert row(await replayed(nats, prefix, until=times[8])) == everything[:8]
            assert row(await replayed(nats, prefix, Since(datetime.now(UTC) + timedelta(hours=1)))) == []


async def test_filters_tell_the_same_events_from_the_stream_and_from_the_outbox(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    correlation = uuid4()
    async with running_relay(database, nats_url, prefix), running_history(settings_for(database, nats_url, prefix)):
        projects = write(database)
        with psycopg.connect(database) as conn:
            conn.execute("SELECT set_config('imi.correlation_id', %s, true)", [str(correlation)])
            (worktree,) = conn.execute("SELECT id FROM worktrees WHERE agent_id = 'agent-1' LIMIT 1").fetchone() or (
                "",
            )
            conn.execute("SELECT log_activity('agent-9', %s, 'modified', 'text')", [worktree])
            conn.execute("UPDATE worktrees SET agent_id = NULL WHERE id = %s", [worktree])
        await until_drained(database, prefix)
        everything = await replayed(nats, prefix)
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
            await trim(nats, prefix, first)
            for name, value in wanted.items():
                told = await replayed(nats, prefix, **{name: value})
                assert row(told) == row(expected[name]), name
                assert 0 < len(told) < len(everything)
                assert row(await replayed(nats, prefix, Last(1), **{name: value})) == row(expected[name][-1:]), name


async def test_a_cursor_that_was_set_back_doubles_nothing_in_the_record(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    """As when PostgreSQL forgets its last commits: the relay reads the stream's tail, in other batches than before."""
    async with running_relay(database, nats_url, prefix, batch_size=2):
        await write_disorderly(database, prefix)
        before = await replayed(nats, prefix)
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE publisher_cursor SET stream_sequence = 0, published = '{}'")
    async with running_relay(database, nats_url, prefix), running_history(settings_for(database, nats_url, prefix)):
        await until_drained(database, prefix)
        await trim(nats, prefix, len(before) + 1)
        assert row(await replayed(nats, prefix)) == row(before)


async def test_a_trimmed_stream_without_a_publisher_is_refused_and_says_what_to_start(
    database: str, nats_url: str, prefix: str, nats: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.client.replay.PATIENCE_SECONDS", 0.0)
    async with running_relay(database, nats_url, prefix):
        write(database)
        await until_drained(database, prefix)
    await trim(nats, prefix, 5)
    with pytest.raises(Unavailable, match=r"no publisher answers.*start imi-registry up or serve"):
        await replayed(nats, prefix)
    assert (await replayed(nats, prefix, FromSequence(6)))[0].sequence == 6


async def test_a_record_that_lags_behind_the_stream_is_waited_for_not_taken_for_all(
    database: str, nats_url: str, prefix: str, nats: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.client.replay.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("publisher.history.service.RECORDED_SECONDS", 0.05)
    async with running_relay(database, nats_url, prefix, batch_size=1):
        write(database)
        await until_drained(database, prefix)
        before = await replayed(nats, prefix)
    last = before[-1].sequence
    await trim(nats, prefix, last + 1)
    async with running_history(settings_for(database, nats_url, prefix)):
        with psycopg.connect(database) as conn:
            conn.execute("DELETE FROM published_batch WHERE last_sequence = %s", [last])
            conn.execute("UPDATE publisher_cursor SET stream_sequence = stream_sequence - 1")
        with pytest.raises(Unavailable, match=f"is ahead of its publisher: sequence {last} is not recorded"):
            await replayed(nats, prefix)
        assert row(await replayed(nats, prefix, until=last - 1)) == row(before)[:-1]


async def test_a_position_whose_successors_were_removed_is_refused(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix), running_history(settings_for(database, nats_url, prefix)):
        write(database)
        await until_drained(database, prefix)
        everything = await replayed(nats, prefix)
        await trim(nats, prefix, 8)
        with psycopg.connect(database) as conn:
            conn.execute("DELETE FROM published_batch WHERE last_sequence <= 6")
            conn.execute("UPDATE publisher_cursor SET forgotten_sequence = 6")
        with pytest.raises(HistoryLost, match=r"behind sequence 3, up to 6, are no longer kept"):
            await replayed(nats, prefix, After(everything[2].position))


async def test_a_stream_that_was_created_anew_is_told_from_the_one_a_token_is_of(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix):
        write(database)
        await until_drained(database, prefix)
        last = (await replayed(nats, prefix))[-1]
        await nats.jetstream().delete_stream(Names(prefix).event_stream)
        await nats.jetstream().add_stream(name=Names(prefix).event_stream, subjects=[Names(prefix).event_subjects])
        with pytest.raises(Conflict, match=f"ends at sequence 0, but {last.sequence} was read from it"):
            await replayed(nats, prefix, After(last.position))


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
    nats: Client, prefix: str, start: object, wanted: dict[str, object], message: str
) -> None:
    await nats.jetstream().add_stream(name=Names(prefix).event_stream, subjects=[Names(prefix).event_subjects])
    with pytest.raises(Invalid, match=message):
        await replayed(nats, prefix, start, **wanted)  # type: ignore[arg-type]


async def test_without_a_stream_it_says_so(nats: Client, prefix: str) -> None:
    with pytest.raises(
        NotFound, match=r"no stream .*start imi-registry up or serve; if there was one, imi-registry doctor"
    ):
        await replayed(nats, prefix)


async def test_following_goes_on_into_live_events(database: str, nats_url: str, prefix: str, nats: Client) -> None:
    async with running_relay(database, nats_url, prefix):
        write(database)
        await until_drained(database, prefix)
        for start, first in ((FromStart(), 1), (Last(2), 0), (After(Position(3)), 4)):
            expected = len(await replayed(nats, prefix)) + 4
            async with asyncio.timeout(20), replay(nats, profile_of(load(prefix=prefix)), start, follow=True) as events:
                told = [await anext(events)]
                write(database, 0, 0, 2)
                while told[-1].sequence < expected:
                    told.append(await anext(events))
            assert [event.sequence for event in told] == list(range(first or expected - 5, expected + 1))
