"""A mirror is its source, row by row: after every event there is, under writers, over each kind of stop and start."""

from __future__ import annotations

import asyncio
import json
import random

import psycopg
import pytest

from publisher.mirror import follower
from registry.concurrency.tasks import end
from registry.events.catalogue import VERSIONS
from tests.support.every_event import change_everything, change_hosts
from tests.support.mirror.copies import assert_same
from tests.support.mirror.mirrors import Mirror
from tests.support.workload import writing
from tests.support.world import World


async def test_a_new_mirror_is_a_snapshot_to_the_last_stamp(source: World, mirror: Mirror) -> None:
    source.write()
    with psycopg.connect(source.database) as conn:
        conn.execute("SELECT use_host('laptop')")
        conn.execute("SELECT register_project('hosted', 'git@github.com:o/hosted.git', 'main', '/there')")
        conn.execute("UPDATE projects SET metadata = %s WHERE name = 'hosted'", ['{"n": 1.10, "s": "\\\\\\n\\u2028"}'])
        conn.execute("UPDATE projects SET description = repeat('long ', 100000) WHERE name = 'hosted'")
        conn.execute("SELECT log_activity('a', id, 'other', E'tab\\tand\\nline\\\\') FROM worktrees LIMIT 1")
        conn.execute("DELETE FROM worktrees WHERE id = (SELECT id FROM worktrees ORDER BY id LIMIT 1)")
    async with mirror.following():
        await mirror.assert_same(is_snapshot=True)
    assert mirror.state("snapshots", "snapshot_reason") == (1, "the mirror is new")


async def test_every_event_there_is_is_applied(source: World, mirror: Mirror) -> None:
    async with mirror.following():
        await mirror.caught_up()
        with psycopg.connect(source.database, autocommit=True) as conn:
            await asyncio.to_thread(change_everything, conn, source.nats.max_payload)
            await mirror.assert_same()  # it ends with everything truncated
            change_hosts(conn)
            source.write()
            conn.execute("DELETE FROM worktrees WHERE id = (SELECT id FROM worktrees ORDER BY id LIMIT 1)")
            conn.execute("SELECT deactivate_project(id) FROM projects ORDER BY id LIMIT 1")
            await mirror.assert_same()
    kinds = {event.envelope["type"] for event in await source.published()}
    assert kinds >= {f"imi.{name}.v1" for name in VERSIONS}


async def test_a_mirror_is_its_source_while_writers_write_and_followers_come_and_go(
    source: World, mirror: Mirror
) -> None:
    rng = random.Random(4)
    async with mirror.following():
        await mirror.caught_up()
    async with writing(source.database, seed=4) as load:
        for _ in range(4):
            async with mirror.following(), mirror.following():  # one of both stands by
                await load.reach(commits=rng.randrange(5, 60))
                with psycopg.connect(mirror.database, autocommit=True) as conn:
                    conn.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                        " AND pid <> pg_backend_pid() AND application_name LIKE 'imi-registry mirror%'"
                    )
    async with mirror.following():
        await mirror.assert_same()
    # Each event once: the snapshot was taken of an empty registry, before the first one.
    last = (await source.nats.jetstream().stream_info(source.stream)).state.last_seq
    assert mirror.state("events", "snapshots") == (last, 1)


async def test_a_transaction_of_the_source_is_seen_whole(source: World, mirror: Mirror) -> None:
    """Two worktrees are always equal: every transaction changes both."""
    with psycopg.connect(source.database, autocommit=True) as conn:
        conn.execute(
            "SELECT register_worktree(register_project('p', 'git@github.com:o/p.git'), 'feat', n, n, '/' || n)"
            " FROM unnest('{a,b}'::text[]) AS n"
        )
        async with mirror.following():
            await mirror.caught_up()
            seen: set[int] = set()

            async def watch() -> None:
                async with await psycopg.AsyncConnection.connect(mirror.database, autocommit=True) as ours:
                    while True:
                        rows = await (await ours.execute("SELECT DISTINCT ahead_of_trunk FROM worktrees")).fetchall()
                        assert len(rows) == 1, rows
                        seen.add(rows[0][0])

            watching = asyncio.ensure_future(watch())
            for number in range(1, 300):
                await asyncio.to_thread(conn.execute, "UPDATE worktrees SET ahead_of_trunk = %s", [number])
            await mirror.caught_up()
            assert not watching.done()
            await end([watching])
    assert len(seen) > 1


async def test_an_event_that_the_source_publishes_again_changes_nothing(source: World, mirror: Mirror) -> None:
    async with mirror.following():
        source.write(projects=1, worktrees=0, renames=2)
        await mirror.assert_same()
    first, *_, last = await source.published()
    position, events = mirror.state("position", "events")
    with psycopg.connect(mirror.database, autocommit=True) as conn:
        again = [json.dumps(first.envelope)] * 2
        behind = [last.sequence + 1, last.sequence + 2]
        row = conn.execute("SELECT apply_mirrored(%s, %s, true, %s, %s)", [position, "1.9.9.0", behind, again])
        assert row.fetchone() == (0,)
    assert mirror.state("sequence", "events") == (last.sequence + 2, events)
    assert_same(source.database, mirror.database)


async def test_who_was_overtaken_applies_nothing(source: World, mirror: Mirror) -> None:
    async with mirror.following():
        source.write(projects=1, worktrees=0, renames=2)
        await mirror.caught_up()
    first, *_ = await source.published()
    with (
        psycopg.connect(mirror.database, autocommit=True) as conn,
        pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="another one follows the source"),
    ):
        conn.execute("SELECT apply_mirrored('1.0.0.0', '1.1.1.0', true, '{1}', %s)", [[json.dumps(first.envelope)]])
    await mirror.assert_same()


async def test_a_look_at_the_source_while_events_are_applied_is_no_reason_for_a_snapshot(
    source: World, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "CHECK_SECONDS", 0.0)
    async with mirror.following() as health, writing(source.database, writers=4) as load:
        await load.reach(commits=300)
    assert health.interrupted == 0
    assert mirror.state("snapshots") == (1,)
