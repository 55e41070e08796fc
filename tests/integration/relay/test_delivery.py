"""A change made with SQL arrives as an event: every kind, once, in order, and nothing that was rolled back."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from registry.events import ACTIONS
from tests.support.every_event import change_hosts, do_everything
from tests.support.nats import reading
from tests.support.outbox_reader import add_project
from tests.support.world import World

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CORRELATION = "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01"
CAUSATION = "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a02"


async def test_every_kind_of_event_arrives_on_its_subject(world: World, writer: psycopg.Connection[Any]) -> None:
    names = world.names

    async with world.relay():
        do_everything(writer)
        change_hosts(writer)
        writer.execute("SELECT registry_heartbeat('test')")
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
            add_project(writer, "never")
        with writer.transaction():
            add_project(writer, "kept")
            with writer.transaction(force_rollback=True):
                add_project(writer, "never-either")
        await world.drained()

    assert [message.envelope["data"]["name"] for message in await world.published()] == ["kept"]


async def test_what_was_written_while_no_relay_ran_is_published_when_one_starts(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    add_project(writer)

    async with world.relay():
        await world.drained()
    assert len(await world.published()) == 1
    add_project(writer, "beta")
    async with world.relay():
        await world.drained()

    assert [message.sequence for message in await world.published()] == [1, 2]


async def test_a_few_events_go_as_they_are_and_those_of_one_transaction_as_a_batch(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    for number in range(5):
        add_project(writer, f"alone-{number}")

    async with world.relay():
        await world.drained()
    with writer.transaction():
        for number in range(5):
            add_project(writer, f"together-{number}")
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
            add_project(slow, "slow")
            add_project(writer, "quick")
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
    ids = [
        int((message.headers or {})["Imi-Outbox-Id"]) async for message in reading.messages(world.nats, world.stream)
    ]
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
            add_project(writer, "told")
        add_project(writer, "untold")
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
        project = add_project(writer)
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
