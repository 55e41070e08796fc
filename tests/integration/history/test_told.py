"""History told to people: one thing's changes, its state at a time, whether events tell all, what doctor finds."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from publisher.cli.arguments.references import history_id
from publisher.doctor import SESSION, examine
from publisher.embedded.nats_server import nats_server
from publisher.history import timeline
from publisher.history.verification import verify
from registry.errors import NotFound
from tests.support.databases import Role, name_of, new_database
from tests.support.nats.reading import connected
from tests.support.workload import writing
from tests.support.world import World


async def test_a_timeline_tells_what_changed_by_whom_from_which_command(database: str) -> None:
    command = uuid4()

    with psycopg.connect(database) as conn:
        (project,) = conn.execute("SELECT register_project('p', 'git@github.com:a/b.git')").fetchone() or ("",)
        conn.commit()
        conn.execute(
            "SELECT set_config('imi.actor', 'ann', true), set_config('imi.causation_id', %s, true)", [str(command)]
        )
        conn.execute("UPDATE projects SET name = 'q', description = 'd'")

    told = await timeline.read(database, "project", project)
    assert [change.row.action for change in told.changes] == ["registered", "updated"]
    change = told.changes[1]
    assert (change.row.actor, change.row.causation_id) == ("ann", str(command))
    fields = {name: (before, after) for name, before, after in change.fields}
    assert fields["name"] == ("p", "q")
    assert fields["description"] == (None, "d")
    assert await history_id(database, "project", "https://github.com/A/b") == project


async def test_the_state_at_every_time_is_the_one_of_then(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        (project,) = conn.execute("SELECT register_project('n0', 'git@github.com:a/b.git')").fetchone() or ("",)
        moments: list[datetime] = []
        for number in range(1, 4):
            moments += [(conn.execute("SELECT clock_timestamp()").fetchone() or (None,))[0]]
            conn.execute("UPDATE projects SET name = %s", [f"n{number}"])
        conn.execute("DELETE FROM projects")
        (end,) = conn.execute("SELECT clock_timestamp()").fetchone() or (None,)
    told = await timeline.read(database, "project", project)
    names = [(told.as_of(moment) or {})["name"] for moment in moments]
    assert names == ["n0", "n1", "n2"]
    assert told.as_of(end) is None

    with pytest.raises(NotFound, match="was not there before"):
        told.as_of(moments[0] - timedelta(days=1))

    kept = timeline.Timeline("project", str(project), told.changes[2:])  # as retention leaves it
    assert (kept.as_of(moments[2]) or {})["name"] == "n2"
    with pytest.raises(NotFound, match=f"what project {project} was before .* is not kept"):
        kept.as_of(moments[0])


async def test_a_state_that_no_event_tells_is_not_made_up(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        (project,) = conn.execute("SELECT register_project('p', 'git@github.com:a/b.git')").fetchone() or ("",)
        conn.execute("SELECT adopt_project_id(%s, %s)", [project, adopted := uuid4()])
        conn.execute("UPDATE projects SET name = 'q'")
    first, last = (await timeline.read(database, "project", adopted)).changes
    told = timeline.Timeline("project", str(adopted), [first, last._replace(data={})])  # as one that cannot be read

    assert (told.as_of(first.time) or {}).keys() == last.data.keys() - {"changed"}
    with pytest.raises(NotFound, match=f"project {adopted} was project {project} before"):
        told.as_of(first.time - timedelta(seconds=1))
    with pytest.raises(NotFound, match=f"the data of event {last.row.id}, .*, is not kept"):
        told.as_of(last.time)


async def test_what_an_event_tells_late_may_have_been_otherwise_before(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        (project,) = conn.execute("SELECT register_project('p', 'git@github.com:a/b.git')").fetchone() or ("",)
    (first,) = (await timeline.read(database, "project", project)).changes
    late = first._replace(data=first.data | {"backfill": True})  # as an upgrade writes it
    told = timeline.Timeline("project", str(project), [late])

    assert "backfill" not in (told.as_of(late.time) or {})
    unread = timeline.Timeline("project", str(project), [first._replace(data={})])
    for one in (told, unread):
        with pytest.raises(NotFound, match=r"what project .* was before .* is not kept"):
            one.as_of(late.time - timedelta(seconds=1))


async def test_what_has_no_event_is_not_found(database: str) -> None:
    with pytest.raises(NotFound, match=r"no event of worktree .* is kept"):
        await timeline.read(database, "worktree", uuid4())


@pytest.mark.usefixtures("profile")
async def test_the_tables_built_from_events_alone_are_the_tables(world: World) -> None:
    world.write()

    async with writing(world.database, seed=6) as load:
        await load.reach(commits=150)
    with psycopg.connect(world.database) as conn:
        conn.execute("UPDATE projects SET name = name || '!'")
        conn.execute("UPDATE worktree_types SET name = 'lasting' WHERE name = 'load'")

    found = await verify(world.settings())
    assert found.differences == []
    assert found.equal["projects"] == 4
    assert found.equal["worktrees"] > 10
    assert found.unknown == 6  # the built-in types: they were there before the first event


async def test_truncated_tables_are_verified_too(world: World) -> None:
    world.write()

    with psycopg.connect(world.database) as conn:
        conn.execute("TRUNCATE projects CASCADE")
        conn.execute("TRUNCATE worktree_types CASCADE")
    world.write(1)

    found = await verify(world.settings())
    assert (found.differences, found.equal["projects"], found.unknown) == ([], 1, 0)


async def test_a_change_that_went_around_the_events_is_found(world: World) -> None:
    world.write()

    with psycopg.connect(world.database) as conn:
        conn.execute("ALTER TABLE projects DISABLE TRIGGER USER")
        conn.execute("UPDATE projects SET name = 'secret' WHERE name = 'p0'")
        conn.execute("DELETE FROM projects WHERE name = 'p1'")
        conn.execute("ALTER TABLE projects ENABLE TRIGGER USER")

    found = await verify(world.settings())
    assert any("name is 'secret', the events tell 'p0'" in line for line in found.differences)
    assert any("the table does not have it" in line for line in found.differences)


async def problems(world: World) -> list[str]:
    return [finding.text for finding in await examine(world.settings()) if not finding.is_well]


async def test_doctor_finds_nothing_wrong_where_nothing_is(world: World, profile: str) -> None:
    assert "nothing was ever published" in (await problems(world))[0]

    async with world.relay():
        world.write()
        await world.drained()
        await world.nats.jetstream().publish(world.foreign_subject, b"{}")
        world.write(1)
        await world.drained()
        assert await problems(world) == []
        told = [finding.text for finding in await examine(world.settings())]
    if profile == "imi":
        assert "1 messages in the stream are of somebody else; they disturb nothing" in told


async def test_doctor_names_a_stranger_who_keeps_publishers_from_leading(world: World) -> None:
    told = "holds the lock of the publisher of stream"
    lock = "SELECT pg_advisory_lock(hashtextextended('imi publisher ' || %s, 0))"
    for was_published in (False, True):
        if was_published:
            async with world.relay():
                world.write()
                await world.drained()
        with psycopg.connect(world.database, application_name="psql") as stranger:
            stranger.execute(lock, [world.stream])

            (found,) = [text for text in await problems(world) if told in text]

            assert f'pid {stranger.info.backend_pid} (application "psql", user ' in found
            assert found.endswith("and is none: end that session")
        assert not any(told in text for text in await problems(world))


async def test_doctor_names_who_has_locked_a_table_against_reading(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.doctor.examination.SESSION", SESSION.replace("2s", "20ms"))
    with psycopg.connect(world.database, application_name="psql") as stranger:
        stranger.execute("LOCK TABLE outbox, publisher_cursor")

        (found,) = await problems(world)

        assert found.startswith(f'pid {stranger.info.backend_pid} (application "psql", user ')
        assert found.endswith(") has locked outbox, publisher_cursor: end that session")


async def test_doctor_explains_a_lost_stream_and_one_restored_from_an_older_backup(
    world: World, state_dir: Path, profile: str
) -> None:
    with nats_server(state_dir) as server:
        async with connected(server.url) as client:
            await world.at(nats=client).create_shared_stream()
        async with world.at(nats_url=server.url).relay():
            world.write()
            await world.drained()
    backup = state_dir / "backup"
    shutil.copytree(state_dir / "nats", backup)

    with nats_server(state_dir) as server:
        async with world.at(nats_url=server.url).relay():
            world.write(1)
            await world.drained()
    shutil.rmtree(state_dir / "nats")
    backup.rename(state_dir / "nats")
    with nats_server(state_dir) as server:
        found = await problems(world.at(nats_url=server.url))

    assert "restored from an older backup; stop up or serve, then imi-registry rebuild-stream" in found[0]
    found = await problems(world)  # a server that never had it; or its owner created it anew
    assert f"stream {world.stream} {'is gone' if profile == 'imi' else 'ends at sequence 0, but'}" in found[0]


@pytest.mark.usefixtures("profile")
@pytest.mark.parametrize("goes_on", [False, True], ids=["before the relay runs", "after the relay has recovered"])
async def test_doctor_explains_a_database_restored_to_an_older_state(
    world: World, admin_url: str, owner: Role, goes_on: bool
) -> None:
    async with world.relay():
        world.write()
        await world.drained()

    with new_database(admin_url, owner, name_of(world.database)) as copy:
        older = world.at(database=copy)
        async with world.relay():
            world.write(1)
            await world.drained()
        if goes_on:
            async with older.relay():
                older.write(1)
                await older.drained()

        found = await problems(older)
        assert any("that this database does not: it was restored to an older state" in text for text in found)
        assert not any("restored" in text for text in await problems(world)) or goes_on
