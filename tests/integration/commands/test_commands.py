"""Commands by bytes over NATS: carried out once, answered, in order, with an outcome event each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from prometheus_client import CollectorRegistry

from publisher.applier import ledger
from publisher.applier.applier import Applier
from publisher.applier.command_stream import WINDOW
from publisher.applier.metrics import ApplierMetrics
from registry.errors import Conflict
from tests.support.commands import envelope, outcome_events, rows
from tests.support.world import World

ORIGIN = "git@github.com:a/p.git"
PROJECT = {"name": "p", "remote_origin": ORIGIN}
WORKTREE = {"type_name": "feat", "name": "x", "branch_name": "x", "path": "/srv/x"}


Do = Callable[..., Awaitable[tuple[str, Any]]]


@asynccontextmanager
async def commanding(world: World) -> AsyncIterator[Do]:
    """Sends commands to an applier; gives the verdict of each, and its code or result."""

    async def do(command: str, **data: Any) -> tuple[str, Any]:
        outcome = await world.ask(command, envelope(command, data))
        return outcome["verdict"], outcome["code"] or outcome["result"]

    async with world.applier():
        yield do
        await world.commands_done()


@asynccontextmanager
async def commanding_a_worktree(world: World) -> AsyncIterator[tuple[Do, dict[str, Any]]]:
    """As `commanding`, with what a command names the worktree by, which is also its result; it is at /srv/x."""
    async with commanding(world) as do:
        _, project = await do("project.register", **PROJECT)
        _, result = await do("worktree.register", **project, **WORKTREE)
        yield do, {"worktree_id": result["worktree_id"]}


def changes(world: World) -> list[str]:
    """Names of the events that are no outcome of a command."""
    found = world.rows("SELECT entity || '.' || action FROM outbox WHERE entity <> 'command' ORDER BY id")
    return [name for (name,) in found]


async def test_a_project_is_registered_once_and_updated_once(world: World) -> None:
    async with commanding(world) as do:
        verdict, result = await do("project.register", **PROJECT)
        project = result["project_id"]

        assert (verdict, result) == ("applied", {"project_id": project})
        assert await do("project.register", **PROJECT) == ("idempotent", {"project_id": project})
        assert (await do("project.update", remote_origin="https://github.com/A/P", description="d"))[0] == "applied"
        assert (await do("project.update", project_id=project, description="d"))[0] == "idempotent"
        assert await do("project.register", name="q", remote_origin="nowhere") == ("rejected", "VALIDATION_ERROR")
        assert await do("project.register", name="a\0b", remote_origin=ORIGIN) == ("rejected", "VALIDATION_ERROR")

    assert changes(world) == ["project.registered", "project.updated"]


async def test_a_project_that_is_deactivated_takes_no_worktree(world: World) -> None:
    async with commanding(world) as do:
        _, project = await do("project.register", **PROJECT)

        assert await do("project.deactivate", **project) == ("applied", project)
        assert await do("project.deactivate", **project) == ("idempotent", project)
        assert await do("project.deactivate", project_id=str(uuid4())) == ("rejected", "NOT_FOUND")
        assert await do("worktree.register", **project, **WORKTREE) == ("rejected", "CONFLICT")

    assert changes(world) == ["project.registered", "project.deactivated"]


async def test_a_worktree_is_registered_moved_and_told_its_git_state(world: World) -> None:
    async with commanding(world) as do:
        _, project = await do("project.register", **PROJECT)

        verdict, result = await do("worktree.register", **project, **WORKTREE)
        worktree = result["worktree_id"]
        same = {"worktree_id": worktree}

        assert (verdict, result) == ("applied", project | same)
        assert await do("worktree.update", path="/srv/x", new_path="/srv/y", type_name="fix") == ("applied", same)
        assert await do("worktree.update_git_state", path="/srv/y", ahead=2) == ("applied", same)
        assert await do("worktree.update_git_state", path="/srv/y", ahead=2) == ("idempotent", same)
        assert await do("worktree_type.remove", name="fix") == ("rejected", "CONFLICT")

    assert changes(world) == [
        *("project.registered", "worktree.created", "worktree.updated", "worktree.git_state_updated")
    ]


async def test_a_worktree_is_claimed_and_released_by_one_agent(world: World) -> None:
    async with commanding_a_worktree(world) as (do, same):
        assert await do("worktree.claim", path="/srv/x", agent_id="ada") == ("applied", same)
        assert await do("worktree.claim", **same, agent_id="ada") == ("idempotent", same)
        assert await do("worktree.claim", **same, agent_id="bob") == ("rejected", "CONFLICT")
        assert await do("worktree.claim", path="/nowhere", agent_id="ada") == ("rejected", "NOT_FOUND")
        assert await do("worktree.release", **same, agent_id="bob") == ("rejected", "CONFLICT")
        assert await do("worktree.release", **same, agent_id="ada") == ("applied", same)
        assert await do("worktree.release", **same) == ("idempotent", same)

    assert changes(world) == ["project.registered", "worktree.created", "worktree.claimed", "worktree.released"]


async def test_an_activity_is_logged(world: World) -> None:
    async with commanding_a_worktree(world) as (do, same):
        logged = {"agent_id": "ada", "activity_type": "committed", "description": "d"}
        verdict, result = await do("activity.log", **same, **logged)

    assert (verdict, result.keys()) == ("applied", {"worktree_id", "activity_id"})
    assert changes(world) == ["project.registered", "worktree.created", "activity.logged"]


async def test_a_worktree_is_merged_once_and_then_removed_already(world: World) -> None:
    async with commanding_a_worktree(world) as (do, same):
        merge = {"merged_by": "ada", "merge_commit_hash": "abc"}

        assert await do("worktree.merge", **same, **merge) == ("applied", same)
        assert await do("worktree.merge", **same, **merge) == ("idempotent", same)
        assert await do("worktree.merge", **same, merged_by="bob", merge_commit_hash="d") == ("rejected", "CONFLICT")
        assert await do("worktree.remove", **same) == ("idempotent", same)

    assert changes(world) == ["project.registered", "worktree.created", "worktree.merged"]


async def test_a_worktree_type_is_added_and_removed_unless_it_is_built_in(world: World) -> None:
    async with commanding(world) as do:
        assert (await do("worktree_type.add", name="docs"))[0] == "applied"
        assert (await do("worktree_type.add", name="docs"))[0] == "idempotent"
        assert await do("worktree_type.add", name="docs", branch_prefix="d/") == ("rejected", "CONFLICT")
        assert await do("worktree_type.remove", name="docs") == ("applied", {})
        assert await do("worktree_type.remove", name="docs") == ("rejected", "NOT_FOUND")
        assert await do("worktree_type.remove", name="feat") == ("rejected", "CONFLICT")

    assert changes(world) == ["worktree_type.added", "worktree_type.removed"]


async def test_the_events_of_a_command_say_who_caused_them(world: World) -> None:
    command_id, conversation = uuid4(), uuid4()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async with world.relay(), world.applier():
        payload = envelope(
            "project.register",
            PROJECT,
            id=str(command_id),
            correlationid=str(conversation),
            causationid=str(uuid4()),
            actor="ada",
            traceparent=trace,
            somethingelse="is allowed",
        )
        outcome = await world.ask("project.register", payload)
        await world.drained()

    change, told = [message.envelope for message in await world.published()]
    for event in (change, told):
        assert event["causationid"] == str(command_id)
        assert event["correlationid"] == str(conversation)
        assert (event["actor"], event["traceparent"]) == ("ada", trace)
    assert change["type"] == "imi.project.registered.v1"
    assert told["type"] == "imi.command.applied.v1"
    assert told["data"] == {
        **outcome,
        "type": "project.register",
        "idempotency_key": None,
        "project_id": outcome["result"]["project_id"],
        "changed": {},
    }


async def test_the_outcome_is_also_published_where_anybody_can_hear_it(world: World) -> None:
    command_id = uuid4()

    async with world.applier():
        subscription = await world.nats.subscribe(f"{world.prefix}.rpy.v1.project.register.{command_id}")
        await world.send("project.register", envelope("project.register", PROJECT, id=str(command_id)))
        answer = await subscription.next_msg(timeout=20)

    assert orjson.loads(answer.data)["verdict"] == "applied"


async def test_a_command_sent_twice_is_applied_once_and_answered_twice_the_same(world: World) -> None:
    payload = envelope("project.register", PROJECT)

    async with world.applier():
        first = await world.ask("project.register", payload)
        assert await world.ask("project.register", payload) == first

    assert first["verdict"] == "applied"
    assert len(world.outcome_events()) == 1


async def test_two_ids_with_one_idempotency_key_are_one_command(world: World) -> None:
    async with world.applier():
        first = await world.ask("project.register", envelope("project.register", PROJECT, idempotencykey="k"))
        again = await world.ask("project.register", envelope("project.register", PROJECT, idempotencykey="k"))
        other = await world.ask(
            "project.register", envelope("project.register", PROJECT | {"name": "q"}, idempotencykey="k")
        )
        # the row of the second use is its own
        assert (await world.ask("project.update", envelope("project.update", PROJECT)))["verdict"] != "rejected"

    assert again == first
    assert (other["verdict"], other["code"]) == ("rejected", "CONFLICT")
    assert first["command_id"] in other["message"]
    assert world.rows("SELECT name FROM projects") == [("p",)]
    assert [verdict for *_, verdict in world.outcome_events()] == ["applied", "rejected", "idempotent"]


async def test_an_id_that_is_taken_is_answered_and_kept_as_a_dead_letter(world: World) -> None:
    command_id = str(uuid4())

    async with world.applier() as metrics:
        await world.ask("project.register", envelope("project.register", PROJECT, id=command_id))
        forged = envelope("project.register", PROJECT | {"name": "q"}, id=command_id)
        outcome = await world.ask("project.register", forged)
        await world.commands_done()

    assert metrics.dead_letters == 1
    assert (outcome["verdict"], outcome["code"]) == ("rejected", "CONFLICT")
    assert world.rows("SELECT name FROM projects") == [("p",)]
    assert world.rows("SELECT verdict FROM command_ledger") == [("applied",)]
    letter = await world.nats.jetstream().get_msg(world.names.commands.dead_letter_stream, 1, direct=True)
    assert letter.subject == f"{world.prefix}.dlq.v1.project.register"
    assert orjson.loads(letter.data or b"")["id"] == command_id


async def test_commands_of_one_key_are_carried_out_in_the_order_they_were_sent(world: World) -> None:
    # given a backlog over several projects, each named by origin
    async with world.applier():
        await world.commands_done()
    sent: dict[str, list[str]] = {}
    for number in range(3 * WINDOW):
        origin = f"git@github.com:a/p{number % 5}.git"
        name = f"name-{number}"
        sent.setdefault(origin, []).append(name)
        payload = envelope("project.register", {"name": "p", "remote_origin": origin, "metadata": {"last": name}})
        await world.send("project.register", payload)

    # when
    async with world.applier():
        await world.commands_done(60)

    # then
    for origin, names in sent.items():
        found = world.rows(
            "SELECT data #>> '{metadata, last}' FROM outbox"
            " WHERE entity = 'project' AND data ->> 'remote_origin' = %s ORDER BY id",
            origin,
        )
        assert [name for (name,) in found] == names


async def test_a_key_that_waits_for_a_lock_holds_up_no_other(world: World) -> None:
    async with world.applier():
        await world.ask("project.register", envelope("project.register", PROJECT))
        with psycopg.connect(world.database) as conn:
            conn.execute("SELECT FROM projects FOR UPDATE")  # held until the block ends
            update = {"remote_origin": ORIGIN, "name": "held up"}
            for number in range(40):  # more than there are connections
                payload = envelope("project.update", update | {"description": str(number)})
                await world.send("project.update", payload)
            other = {"name": "q", "remote_origin": "git@github.com:a/q.git"}
            outcome = await world.ask("project.register", envelope("project.register", other))
            assert outcome["verdict"] == "applied"
            assert world.rows("SELECT count(*) FROM command_ledger") == [(2,)]
        await world.commands_done()

    assert world.rows("SELECT description FROM projects WHERE name = 'held up'") == [("39",)]


async def test_sixteen_senders_that_register_one_origin_at_once_get_one_id(world: World) -> None:
    async with world.applier():
        outcomes = await asyncio.gather(
            *[world.ask("project.register", envelope("project.register", PROJECT)) for _ in range(16)]
        )

    assert len({outcome["result"]["project_id"] for outcome in outcomes}) == 1
    assert sorted(outcome["verdict"] for outcome in outcomes) == ["applied", *["idempotent"] * 15]
    assert world.rows("SELECT count(*) FROM outbox WHERE action = 'registered'") == [(1,)]
    assert len(world.outcome_events()) == 16


async def test_no_more_commands_are_in_hand_than_the_window(world: World) -> None:
    names = world.names.commands

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.applier())
        with psycopg.connect(world.database) as conn:
            conn.execute("LOCK TABLE projects")
            for number in range(2 * WINDOW):
                data = {"name": "p", "remote_origin": f"git@github.com:a/p{number}.git"}
                await world.send("project.register", envelope("project.register", data))
            (consumer,) = await world.nats.jetstream().consumers_info(names.stream)
            assert (consumer.num_ack_pending, consumer.num_pending) == (WINDOW, WINDOW)
        await world.commands_done()

    assert world.rows("SELECT count(*) FROM projects") == [(2 * WINDOW,)]


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
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND (datname IS NULL OR datname = %s)"
    )
    with psycopg.connect(database, autocommit=True) as conn:
        async with asyncio.timeout(20):
            while conn.execute(query, [conn.info.dbname]).fetchone() != (0,):
                await asyncio.sleep(0.01)
