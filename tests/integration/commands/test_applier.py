"""The applier: who is it, what it needs of the command stream, and the ledger that it keeps."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from prometheus_client import CollectorRegistry

from publisher.applier import ledger
from publisher.applier.applier import Applier
from publisher.applier.command_stream import CommandStream
from publisher.applier.lead import CONSUMER
from publisher.applier.metrics import ApplierMetrics
from registry.broker.pull import GONE_SECONDS
from registry.errors import Conflict
from tests.support.commands import PROJECT, envelope, outcome_events, rows
from tests.support.databases import until_nobody_connects
from tests.support.world import World


async def test_a_second_applier_stands_by_and_takes_over_at_once_when_the_first_stops(world: World) -> None:
    async with AsyncExitStack() as first:
        leader = await first.enter_async_context(world.applier())

        async with world.applier() as second:
            assert (leader.role, second.role) == ("leader", "standby")
            await world.ask("project.register", envelope("project.register", PROJECT))
            await first.aclose()
            outcome = await world.ask("project.register", envelope("project.register", PROJECT))
            assert outcome["verdict"] == "idempotent"
            assert second.role == "leader"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"subjects": ["{prefix}.cmd.>"]}, "retention is limits, expected workqueue"),
        ({"subjects": ["{prefix}.cmd.v1.>"], "retention": RetentionPolicy.WORK_QUEUE}, "subjects are"),
    ],
)
async def test_a_stream_that_cannot_carry_commands_is_refused(
    world: World, config: dict[str, Any], reason: str
) -> None:
    subjects = [subject.format(prefix=world.prefix) for subject in config["subjects"]]
    name = world.names.commands.stream
    await world.nats.jetstream().add_stream(StreamConfig(**config | {"name": name, "subjects": subjects}))

    with pytest.raises(Conflict, match=reason):
        await Applier(world.settings(), ApplierMetrics(CollectorRegistry())).run()


async def test_somebody_elses_consumer_on_our_commands_is_named(world: World) -> None:
    name = world.names.commands.stream
    await world.nats.jetstream().add_stream(
        StreamConfig(name=name, subjects=[f"{world.prefix}.cmd.>"], retention=RetentionPolicy.WORK_QUEUE)
    )
    await world.nats.jetstream().add_consumer(
        name, ConsumerConfig(durable_name="theirs", filter_subject=f"{world.prefix}.cmd.v1.project.>")
    )

    with pytest.raises(Conflict, match="consumers that take our commands: theirs"):
        await Applier(world.settings(), ApplierMetrics(CollectorRegistry())).run()


async def test_a_leader_is_gone_when_enough_looks_saw_nobody_and_who_looked_last_leads_at_once(
    world: World,
) -> None:
    name = world.names.commands.stream
    stream = CommandStream(world.nats, world.profile, world.settings())
    await stream.open()
    gone = ConsumerConfig(durable_name=f"{CONSUMER}gone", filter_subject=f"{world.prefix}.cmd.>")
    await world.nats.jetstream().add_consumer(name, gone)

    assert not await stream.lead.is_free()
    await asyncio.sleep(GONE_SECONDS)  # who is stalled for so long has looked once
    looks = [await stream.lead.is_free() for _ in range(3)]
    assert await stream.take_lead()

    assert looks == [False, False, True]
    (leader,) = await world.nats.jetstream().consumers_info(name)
    assert leader.name != gone.durable_name


def test_the_ledger_forgets_what_is_old_and_only_that(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        for days in (0, 29, 31):
            conn.execute(
                "INSERT INTO command_ledger (command_id, digest, type, verdict, message, applied_at)"
                " VALUES (gen_random_uuid(), '', 'project.register', 'applied', '', now() - make_interval(days => %s))",
                [days],
            )
        assert conn.execute("SELECT cleanup_command_ledger()").fetchone() == (1,)
        assert conn.execute("SELECT cleanup_command_ledger(10)").fetchone() == (1,)
        assert conn.execute("SELECT count(*) FROM command_ledger").fetchone() == (1,)

        with pytest.raises(psycopg.DataError, match="must be 0 or more"):
            conn.execute("SELECT cleanup_command_ledger(-1)")


def test_a_command_that_another_session_records_first_changes_nothing(database: str) -> None:
    # given two sessions that carry out the same command at once
    call = "SELECT verdict FROM apply_command(%s, 'worktree_type.add', jsonb_build_object('name', %s::text), 'd', %s)"
    command_id: UUID = uuid4()
    with psycopg.connect(database) as first, psycopg.connect(database) as second:
        assert first.execute(call, [command_id, "docs", command_id]).fetchone() == ("applied",)
        second.execute("SET lock_timeout = '20s'")

        # when the second comes to the ledger while the first is about to commit
        with psycopg.connect(database, autocommit=True) as watch:

            def commit_when_awaited() -> None:
                pid = second.info.backend_pid
                while not (watch.execute("SELECT pg_blocking_pids(%s)", [pid]).fetchone() or ([],))[0]:
                    pass
                first.commit()

            thread = Thread(target=commit_when_awaited)
            thread.start()
            with pytest.raises(psycopg.errors.SerializationFailure, match="is being applied by another session"):
                second.execute(call, [command_id, "other", command_id])
            thread.join()
            second.rollback()

        # then the second finds the outcome, and what it did is undone
        assert second.execute(call, [command_id, "docs", command_id]).fetchone() == ("applied",)
    assert rows(database, "SELECT name FROM worktree_types WHERE NOT is_builtin") == [("docs",)]
    assert len(outcome_events(database)) == 1


async def test_an_applier_that_is_stopped_while_it_connects_leaves_no_half_open_connection(database: str) -> None:
    # given a connection that is being made, cancelled once its socket is there
    async def connect() -> None:
        async with ledger.connect(database, "half-open", lock_seconds=1):
            raise AssertionError("it was to be stopped before")

    kept = []  # what a garbage collector would otherwise close
    for _ in range(20):
        connecting = asyncio.create_task(connect())
        await asyncio.wait([connecting], timeout=0.001)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await connecting
        kept.append(cancelled.value)

    # then PostgreSQL waits for nobody
    await until_nobody_connects(database)
