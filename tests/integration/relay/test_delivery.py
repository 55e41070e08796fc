"""A change made with SQL arrives as an event: every kind, once, in order, and nothing that was rolled back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from nats.js.api import StreamConfig

from publisher.stream.event_stream import StreamLost
from registry.errors import Conflict
from registry.events import ACTIONS
from tests.support.world import World

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CORRELATION = "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01"
CAUSATION = "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a02"


@pytest.fixture
def writer(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def register_project(conn: psycopg.Connection[Any], name: str = "alpha") -> str:
    row = conn.execute("SELECT register_project(%s, %s)::text", [name, f"git@github.com:33god/{name}.git"]).fetchone()
    assert row is not None
    return str(row[0])


def register_worktree(conn: psycopg.Connection[Any], project: str, name: str = "feat-x") -> str:
    row = conn.execute(
        "SELECT register_worktree(%s, 'feat', %s, %s, %s)::text", [project, name, f"feat/{name}", f"/srv/{name}"]
    ).fetchone()
    assert row is not None
    return str(row[0])


def do_everything(conn: psycopg.Connection[Any]) -> None:
    """Changes that together cause every event a trigger can write."""
    project = register_project(conn)
    worktree = register_worktree(conn, project)
    for statement, values in [
        ("UPDATE projects SET description = 'd' WHERE id = %s", [project]),
        ("UPDATE worktrees SET agent_id = 'ada' WHERE id = %s", [worktree]),
        ("UPDATE worktrees SET agent_id = NULL WHERE id = %s", [worktree]),
        ("UPDATE worktrees SET metadata = '{\"k\": 1}' WHERE id = %s", [worktree]),
        ("SELECT update_worktree_git_state(%s, p_ahead := 2)", [worktree]),
        ("SELECT log_activity('ada', %s, 'modified', 'd')", [worktree]),
        ("SELECT mark_worktree_merged(%s, 'ada', 'abc1234')", [worktree]),
        ("SELECT register_worktree(%s, 'feat', 'feat-x', 'feat/feat-x', '/srv/feat-x')", [project]),
        ("UPDATE worktrees SET active = false WHERE id = %s", [worktree]),
        ("DELETE FROM worktrees WHERE id = %s", [worktree]),
        ("SELECT deactivate_project(%s)", [project]),
        ("SELECT register_project('alpha', 'git@github.com:33god/alpha.git')", []),
        ("DELETE FROM projects WHERE id = %s", [project]),
        ("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('spike', 'spike/', 'spike-')", []),
        ("UPDATE worktree_types SET color = '#112233' WHERE name = 'spike'", []),
        ("DELETE FROM worktree_types WHERE name = 'spike'", []),
        ("TRUNCATE projects CASCADE", []),
    ]:
        conn.execute(statement, values)


async def test_every_kind_of_event_arrives_on_its_subject(world: World, writer: psycopg.Connection[Any]) -> None:
    names = world.names

    async with world.relay():
        do_everything(writer)
        await world.drained()

    rows = writer.execute(
        "SELECT event_id::text, entity, action, project_id::text, data FROM outbox ORDER BY id"
    ).fetchall()
    messages = await world.published()
    assert [message.envelope["id"] for message in messages] == [row[0] for row in rows]
    for message, (event_id, entity, action, project_id, data) in zip(messages, rows, strict=True):
        assert message.subject == names.event_subject(entity, action, project_id)
        assert message.headers["Nats-Msg-Id"] == event_id
        assert message.envelope["type"] == f"imi.{entity}.{action}.v1"
        assert message.envelope["data"] == data
    seen = {(row[1], row[2]) for row in rows}
    assert seen >= {(entity, action) for entity in ACTIONS.keys() - {"command"} for action in ACTIONS[entity]}


async def test_an_event_of_a_rolled_back_write_is_never_published(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    async with world.relay():
        with writer.transaction(force_rollback=True):
            register_project(writer, "never")
        with writer.transaction():
            register_project(writer, "kept")
            with writer.transaction(force_rollback=True):
                register_project(writer, "never-either")
        await world.drained()

    assert [message.envelope["data"]["name"] for message in await world.published()] == ["kept"]


async def test_what_was_written_while_no_relay_ran_is_published_when_one_starts(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    register_project(writer)

    async with world.relay():
        await world.drained()
    assert len(await world.published()) == 1
    register_project(writer, "beta")
    async with world.relay():
        await world.drained()

    assert [message.sequence for message in await world.published()] == [1, 2]


async def test_a_few_events_go_as_they_are_and_those_of_one_transaction_as_a_batch(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    for number in range(5):
        register_project(writer, f"alone-{number}")

    async with world.relay():
        await world.drained()
    with writer.transaction():
        for number in range(5):
            register_project(writer, f"together-{number}")
    async with world.relay():
        await world.drained()

    messages = await world.published()
    names = [message.envelope["data"]["name"] for message in messages]
    assert names == [f"{how}-{number}" for how in ("alone", "together") for number in range(5)]
    assert ["Nats-Batch-Id" in message.headers for message in messages] == [False] * 5 + [True] * 5
    assert len({message.headers["Nats-Batch-Id"] for message in messages[5:]}) == 1


async def test_an_open_transaction_delays_only_its_own_events(world: World, writer: psycopg.Connection[Any]) -> None:
    async with world.relay() as metrics:
        with psycopg.connect(world.database) as slow:
            register_project(slow, "slow")
            register_project(writer, "quick")
            async with asyncio.timeout(10):
                while metrics.published < 1:
                    await asyncio.sleep(0.005)
            assert [message.envelope["data"]["name"] for message in await world.published()] == ["quick"]
        await world.drained()

    assert [message.envelope["data"]["name"] for message in await world.published()] == ["quick", "slow"]


async def test_ten_thousand_rows_of_one_statement_arrive_in_order(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    async with world.relay() as metrics:
        writer.execute(
            """
            INSERT INTO projects (name, remote_origin, trunk_path)
            SELECT 'p' || n, 'git@github.com:33god/p' || n || '.git', '/srv/p' || n FROM generate_series(1, 10000) AS n
            """
        )
        await world.drained()

    assert metrics.published == 10_000
    messages = await world.published()
    ids = [int(message.headers["Imi-Outbox-Id"]) for message in messages]
    assert len(ids) == 10_000
    assert ids == sorted(ids)


async def test_settings_of_the_writing_transaction_travel_with_the_event(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    async with world.relay():
        with writer.transaction():
            for name, value in {
                "imi.actor": "ada",
                "imi.correlation_id": CORRELATION,
                "imi.causation_id": CAUSATION,
                "imi.traceparent": TRACE,
            }.items():
                writer.execute("SELECT set_config(%s, %s, true)", [name, value])
            register_project(writer, "told")
        register_project(writer, "untold")
        await world.drained()

    told, untold = [message.envelope for message in await world.published()]
    assert (told["actor"], told["correlationid"], told["causationid"], told["traceparent"]) == (
        "ada",
        CORRELATION,
        CAUSATION,
        TRACE,
    )
    assert untold["correlationid"] == untold["id"]
    assert "causationid" not in untold
    assert "actor" not in untold
    assert "traceparent" not in untold


async def test_an_event_too_large_for_the_server_arrives_as_a_reference(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    async with world.relay():
        project = register_project(writer)
        writer.execute(
            "UPDATE projects SET metadata = jsonb_build_object('k', repeat('x', %s)) WHERE id = %s",
            [world.nats.max_payload, project],
        )
        writer.execute("UPDATE projects SET name = 'beta' WHERE id = %s", [project])
        await world.drained()

    registered, large, renamed = [message.envelope for message in await world.published()]
    assert "data" in registered
    assert "data" not in large
    assert large["dataref"] == f"urn:imi:registry:outbox:{large['id']}"
    assert renamed["dataref"]  # the full row is still too large
    assert large["type"] == renamed["type"] == "imi.project.updated.v1"


async def test_the_stream_is_created_as_designed(world: World) -> None:
    async with world.relay():
        config = (await world.nats.jetstream().stream_info(f"{world.prefix.upper()}_EVENTS")).config

    assert config.subjects == [f"{world.prefix}.evt.v1.>"]
    assert (config.storage, config.retention) == ("file", "limits")
    assert config.allow_atomic
    assert config.allow_direct


async def test_a_stream_that_disagrees_is_an_error_that_names_the_difference_and_alters_nothing(world: World) -> None:
    name = f"{world.prefix.upper()}_EVENTS"
    theirs = StreamConfig(name=name, subjects=[f"{world.prefix}.evt.v1.>"], max_age=3600, storage="memory")
    await world.nats.jetstream().add_stream(theirs)
    before = (await world.nats.jetstream().stream_info(name)).config

    with pytest.raises(BaseExceptionGroup) as caught:
        async with world.relay():
            pass

    (error,) = caught.value.split(Conflict)[0].exceptions  # type: ignore[union-attr]
    assert f"stream {name} exists with another configuration" in str(error)
    for difference in ("storage is memory, expected file", "max_age (s) is 3600", "allow_atomic is False"):
        assert difference in str(error)
    assert (await world.nats.jetstream().stream_info(name)).config == before


async def test_a_stream_that_ends_before_what_was_published_is_refused(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    register_project(writer)

    async with world.relay():
        await world.drained()
    await world.nats.jetstream().delete_stream(f"{world.prefix.upper()}_EVENTS")
    register_project(writer, "beta")
    with pytest.raises(BaseExceptionGroup) as caught:
        async with world.relay():
            pass

    (error,) = caught.value.split(StreamLost)[0].exceptions  # type: ignore[union-attr]
    assert "ends at sequence 0, but 1 was published into it" in str(error)


async def test_a_standby_takes_over_when_the_leader_stops(world: World, writer: psycopg.Connection[Any]) -> None:
    async with world.relay() as first:
        assert first.role == "leader"
        register_project(writer)
        await world.drained()
        first_task = world.relay()
        second = await first_task.__aenter__()
        assert second.role == "standby"
    register_project(writer, "beta")
    await world.drained()
    assert second.role == "leader"
    await first_task.__aexit__(None, None, None)

    assert [message.envelope["data"]["name"] for message in await world.published()] == ["alpha", "beta"]


@pytest.mark.parametrize("projects", [0, 1])
async def test_an_idle_relay_does_not_touch_the_database_between_heartbeats(
    world: World, writer: psycopg.Connection[Any], projects: int
) -> None:
    state = """
        SELECT state, query LIKE '%progress%' AND last_value = 1 AS is_last_look, query_start
        FROM pg_stat_activity, publisher_doorbell
        WHERE datname = current_database() AND application_name LIKE 'imi-registry%'
    """

    async with world.relay(heartbeat_seconds=30) as metrics:
        for _ in range(projects):
            register_project(writer)
            await world.drained()
        assert metrics.published == projects
        async with asyncio.timeout(10):
            while not (before := writer.execute(state).fetchall()) or before[0][:2] != ("idle", True):
                await asyncio.sleep(0.005)
        await asyncio.sleep(1.0)  # the time in which nothing may happen is what is tested
        assert writer.execute(state).fetchall() == before


async def test_a_relay_that_stops_leaves_no_doorbell_for_writers_to_ring(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    def is_armed() -> bool:
        return writer.execute("SELECT last_value = 1 FROM publisher_doorbell").fetchone() == (True,)

    async with world.relay():
        register_project(writer)
        await world.drained()
        async with asyncio.timeout(10):
            while not is_armed():
                await asyncio.sleep(0.01)
    assert not is_armed()
