"""History told to people: one thing's changes, its state at a time, whether events tell all, what doctor finds."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from nats.aio.client import Client
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from publisher.cli.references import history_id
from publisher.doctor import examine
from publisher.embedded.nats_server import nats_server
from publisher.history import timeline
from publisher.history.verification import verify
from registry.errors import NotFound
from tests.conftest import database_url
from tests.integration.history.test_replay import write
from tests.support.audit import connected
from tests.support.histories import create_shared_stream, foreign_subject, stream_of
from tests.support.relays import running_relay, settings_for, until_drained
from tests.support.workload import writing


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
    assert (kept.as_of(moments[0]) or {})["name"] == "n1"


async def test_what_has_no_event_is_not_found(database: str) -> None:
    with pytest.raises(NotFound, match=r"no event of worktree .* is kept"):
        await timeline.read(database, "worktree", uuid4())


@pytest.mark.usefixtures("profile")
async def test_the_tables_built_from_events_alone_are_the_tables(database: str, nats_url: str, prefix: str) -> None:
    write(database)
    async with writing(database, seed=6) as load:
        await load.reach(commits=150)
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE projects SET name = name || '!'")
        conn.execute("UPDATE worktree_types SET name = 'lasting' WHERE name = 'load'")
    found = await verify(settings_for(database, nats_url, prefix))
    assert found.differences == []
    assert found.equal["projects"] == 4
    assert found.equal["worktrees"] > 10
    assert found.unknown == 6  # the built-in types: they were there before the first event


async def test_truncated_tables_are_verified_too(database: str, nats_url: str, prefix: str) -> None:
    write(database)
    with psycopg.connect(database) as conn:
        conn.execute("TRUNCATE projects CASCADE")
        conn.execute("TRUNCATE worktree_types CASCADE")
    write(database, 1)
    found = await verify(settings_for(database, nats_url, prefix))
    assert (found.differences, found.equal["projects"], found.unknown) == ([], 1, 0)


async def test_a_change_that_went_around_the_events_is_found(database: str, nats_url: str, prefix: str) -> None:
    write(database)
    with psycopg.connect(database) as conn:
        conn.execute("ALTER TABLE projects DISABLE TRIGGER USER")
        conn.execute("UPDATE projects SET name = 'secret' WHERE name = 'p0'")
        conn.execute("DELETE FROM projects WHERE name = 'p1'")
        conn.execute("ALTER TABLE projects ENABLE TRIGGER USER")
    found = await verify(settings_for(database, nats_url, prefix))
    assert any("name is 'secret', the events tell 'p0'" in line for line in found.differences)
    assert any("the table does not have it" in line for line in found.differences)


async def problems(database: str, nats_url: str, prefix: str) -> list[str]:
    return [finding.text for finding in await examine(settings_for(database, nats_url, prefix)) if not finding.is_well]


async def test_doctor_finds_nothing_wrong_where_nothing_is(
    database: str, nats_url: str, prefix: str, nats: Client, profile: str
) -> None:
    assert "nothing was ever published" in (await problems(database, nats_url, prefix))[0]
    async with running_relay(database, nats_url, prefix):
        write(database)
        await until_drained(database, prefix)
        await nats.jetstream().publish(foreign_subject(prefix), b"{}")
        write(database, 1)
        await until_drained(database, prefix)
        assert await problems(database, nats_url, prefix) == []
        told = [finding.text for finding in await examine(settings_for(database, nats_url, prefix))]
    if profile == "imi":
        assert "1 messages in the stream are of somebody else; they disturb nothing" in told


async def test_doctor_explains_a_lost_stream_and_one_restored_from_an_older_backup(
    database: str, prefix: str, state_dir: Path, nats_url: str, profile: str
) -> None:
    with nats_server(state_dir) as server:
        async with connected(server.url) as client:
            await create_shared_stream(client)
        async with running_relay(database, server.url, prefix):
            write(database)
            await until_drained(database, prefix)
    backup = state_dir / "backup"
    shutil.copytree(state_dir / "nats", backup)
    with nats_server(state_dir) as server:
        async with running_relay(database, server.url, prefix):
            write(database, 1)
            await until_drained(database, prefix)
    shutil.rmtree(state_dir / "nats")
    backup.rename(state_dir / "nats")
    with nats_server(state_dir) as server:
        found = await problems(database, server.url, prefix)
    assert "restored from an older backup; stop up or serve, then imi-registry rebuild-stream" in found[0]
    found = await problems(database, nats_url, prefix)  # a server that never had it; or its owner created it anew
    assert f"stream {stream_of(prefix)} {'is gone' if profile == 'imi' else 'ends at sequence 0, but'}" in found[0]


@pytest.mark.usefixtures("profile")
@pytest.mark.parametrize("goes_on", [False, True], ids=["before the relay runs", "after the relay has recovered"])
async def test_doctor_explains_a_database_restored_to_an_older_state(
    database: str, admin_url: str, nats_url: str, prefix: str, goes_on: bool
) -> None:
    name = str(conninfo_to_dict(database)["dbname"])
    async with running_relay(database, nats_url, prefix):
        write(database)
        await until_drained(database, prefix)
    with psycopg.connect(admin_url, autocommit=True) as conn:
        query = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        conn.execute(query.format(sql.Identifier(f"{name}_old"), sql.Identifier(name)))
    older = database_url(admin_url, f"{name}_old")
    try:
        async with running_relay(database, nats_url, prefix):
            write(database, 1)
            await until_drained(database, prefix)
        if goes_on:
            async with running_relay(older, nats_url, prefix):
                write(older, 1)
                await until_drained(older, prefix)
        found = await problems(older, nats_url, prefix)
        assert any("that this database does not: it was restored to an older state" in text for text in found)
        assert not any("restored" in text for text in await problems(database, nats_url, prefix)) or goes_on
    finally:
        with psycopg.connect(admin_url, autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(f"{name}_old")))
