"""Commands by bytes over NATS: carried out once, answered, in order, with an outcome event each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from prometheus_client import CollectorRegistry

from publisher.applier import ledger
from publisher.applier.applier import Applier
from publisher.applier.command_stream import WINDOW
from publisher.applier.metrics import ApplierMetrics
from registry.errors import Conflict
from registry.subjects import Names
from tests.support.appliers import ask, envelope, outcome_events, publish, rows, running_applier, until_empty
from tests.support.relays import published, running_relay, settings_for, until_drained

ORIGIN = "git@github.com:a/p.git"
PROJECT = {"name": "p", "remote_origin": ORIGIN}


async def test_every_command_does_what_its_function_does(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_applier(database, nats_url, prefix):

        async def do(command: str, **data: Any) -> tuple[str, Any]:
            outcome = await ask(nats, prefix, command, envelope(command, data))
            return outcome["verdict"], outcome["code"] or outcome["result"]

        verdict, result = await do("project.register", **PROJECT)
        project = result["project_id"]
        assert (verdict, result) == ("applied", {"project_id": project})
        assert await do("project.register", **PROJECT) == ("idempotent", {"project_id": project})
        assert (await do("project.update", remote_origin="https://github.com/A/P", description="d"))[0] == "applied"
        assert (await do("project.update", project_id=project, description="d"))[0] == "idempotent"
        feat = {"type_name": "feat", "name": "x", "branch_name": "x", "path": "/srv/x"}
        verdict, result = await do("worktree.register", project_id=project, **feat)
        worktree = result["worktree_id"]
        assert (verdict, result) == ("applied", {"project_id": project, "worktree_id": worktree})
        same = {"worktree_id": worktree}
        assert await do("worktree.update", path="/srv/x", new_path="/srv/y", type_name="fix") == ("applied", same)
        assert await do("worktree.update_git_state", path="/srv/y", ahead=2) == ("applied", same)
        assert await do("worktree.update_git_state", path="/srv/y", ahead=2) == ("idempotent", same)
        assert await do("worktree.claim", path="/srv/y", agent_id="ada") == ("applied", same)
        assert await do("worktree.claim", **same, agent_id="ada") == ("idempotent", same)
        assert await do("worktree.claim", **same, agent_id="bob") == ("rejected", "CONFLICT")
        assert await do("worktree.release", **same, agent_id="bob") == ("rejected", "CONFLICT")
        assert await do("worktree.release", **same, agent_id="ada") == ("applied", same)
        assert await do("worktree.release", **same) == ("idempotent", same)
        logged = {"agent_id": "ada", "activity_type": "committed", "description": "d"}
        verdict, result = await do("activity.log", **same, **logged)
        assert (verdict, result.keys()) == ("applied", {"worktree_id", "activity_id"})
        merge = {"merged_by": "ada", "merge_commit_hash": "abc"}
        assert await do("worktree.merge", **same, **merge) == ("applied", same)
        assert await do("worktree.merge", **same, **merge) == ("idempotent", same)
        assert await do("worktree.merge", **same, merged_by="bob", merge_commit_hash="d") == ("rejected", "CONFLICT")
        assert await do("worktree.remove", **same) == ("idempotent", same)
        assert (await do("worktree_type.add", name="docs"))[0] == "applied"
        assert (await do("worktree_type.add", name="docs"))[0] == "idempotent"
        assert await do("worktree_type.add", name="docs", branch_prefix="d/") == ("rejected", "CONFLICT")
        assert await do("worktree_type.remove", name="docs") == ("applied", {})
        assert await do("worktree_type.remove", name="docs") == ("rejected", "NOT_FOUND")
        assert await do("worktree_type.remove", name="feat") == ("rejected", "CONFLICT")
        assert await do("worktree_type.remove", name="fix") == ("rejected", "CONFLICT")
        assert await do("project.deactivate", project_id=project) == ("applied", {"project_id": project})
        assert await do("project.deactivate", project_id=project) == ("idempotent", {"project_id": project})
        assert await do("project.deactivate", project_id=str(uuid4())) == ("rejected", "NOT_FOUND")
        assert await do("project.register", name="q", remote_origin="nowhere") == ("rejected", "VALIDATION_ERROR")
        assert await do("worktree.register", project_id=project, **feat) == ("rejected", "CONFLICT")
        assert await do("worktree.claim", path="/nowhere", agent_id="ada") == ("rejected", "NOT_FOUND")
        assert await do("project.register", name="a\0b", remote_origin=ORIGIN) == ("rejected", "VALIDATION_ERROR")
        await until_empty(nats, prefix)
    changed = rows(database, "SELECT entity || '.' || action FROM outbox WHERE entity <> 'command' ORDER BY id")
    assert [name for (name,) in changed] == [
        "project.registered",
        "project.updated",
        "worktree.created",
        "worktree.updated",
        "worktree.git_state_updated",
        "worktree.claimed",
        "worktree.released",
        "activity.logged",
        "worktree.merged",
        "worktree_type.added",
        "worktree_type.removed",
        "project.deactivated",
    ]


async def test_the_events_of_a_command_say_who_caused_them(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    command_id, conversation = uuid4(), uuid4()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with running_relay(database, nats_url, prefix), running_applier(database, nats_url, prefix):
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
        outcome = await ask(nats, prefix, "project.register", payload)
        await until_drained(database, prefix)
    change, told = [message.envelope for message in await published(nats, prefix)]
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


async def test_the_outcome_is_also_published_where_anybody_can_hear_it(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    command_id = uuid4()
    async with running_applier(database, nats_url, prefix):
        subscription = await nats.subscribe(f"{prefix}.rpy.v1.project.register.{command_id}")
        await publish(nats, prefix, "project.register", envelope("project.register", PROJECT, id=str(command_id)))
        answer = await subscription.next_msg(timeout=20)
    assert orjson.loads(answer.data)["verdict"] == "applied"


async def test_a_command_sent_twice_is_applied_once_and_answered_twice_the_same(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    payload = envelope("project.register", PROJECT)
    async with running_applier(database, nats_url, prefix):
        first = await ask(nats, prefix, "project.register", payload)
        assert await ask(nats, prefix, "project.register", payload) == first
    assert first["verdict"] == "applied"
    assert len(outcome_events(database)) == 1


async def test_two_ids_with_one_idempotency_key_are_one_command(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_applier(database, nats_url, prefix):
        first = await ask(nats, prefix, "project.register", envelope("project.register", PROJECT, idempotencykey="k"))
        again = await ask(nats, prefix, "project.register", envelope("project.register", PROJECT, idempotencykey="k"))
        other = await ask(
            nats, prefix, "project.register", envelope("project.register", PROJECT | {"name": "q"}, idempotencykey="k")
        )
        # the row of the second use is its own
        assert (await ask(nats, prefix, "project.update", envelope("project.update", PROJECT)))["verdict"] != "rejected"
    assert again == first
    assert (other["verdict"], other["code"]) == ("rejected", "CONFLICT")
    assert first["command_id"] in other["message"]
    assert rows(database, "SELECT name FROM projects") == [("p",)]
    assert [verdict for *_, verdict in outcome_events(database)] == ["applied", "rejected", "idempotent"]


async def test_an_id_that_is_taken_is_answered_and_kept_as_a_dead_letter(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    command_id = str(uuid4())
    async with running_applier(database, nats_url, prefix) as metrics:
        await ask(nats, prefix, "project.register", envelope("project.register", PROJECT, id=command_id))
        forged = envelope("project.register", PROJECT | {"name": "q"}, id=command_id)
        outcome = await ask(nats, prefix, "project.register", forged)
        await until_empty(nats, prefix)
    assert metrics.dead_letters == 1
    assert (outcome["verdict"], outcome["code"]) == ("rejected", "CONFLICT")
    assert rows(database, "SELECT name FROM projects") == [("p",)]
    assert rows(database, "SELECT verdict FROM command_ledger") == [("applied",)]
    letter = await nats.jetstream().get_msg(Names(prefix).commands.dead_letter_stream, 1, direct=True)
    assert letter.subject == f"{prefix}.dlq.v1.project.register"
    assert orjson.loads(letter.data or b"")["id"] == command_id


async def test_commands_of_one_key_are_carried_out_in_the_order_they_were_sent(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    # given a backlog over several projects, each named by origin
    async with running_applier(database, nats_url, prefix):
        await until_empty(nats, prefix)
    sent: dict[str, list[str]] = {}
    for number in range(3 * WINDOW):
        origin = f"git@github.com:a/p{number % 5}.git"
        name = f"name-{number}"
        sent.setdefault(origin, []).append(name)
        payload = envelope("project.register", {"name": "p", "remote_origin": origin, "metadata": {"last": name}})
        await publish(nats, prefix, "project.register", payload)
    # when
    async with running_applier(database, nats_url, prefix):
        await until_empty(nats, prefix, 60)
    # then
    for origin, names in sent.items():
        found = rows(
            database,
            "SELECT data #>> '{metadata, last}' FROM outbox"
            " WHERE entity = 'project' AND data ->> 'remote_origin' = %s ORDER BY id",
            origin,
        )
        assert [name for (name,) in found] == names


async def test_a_key_that_waits_for_a_lock_holds_up_no_other(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_applier(database, nats_url, prefix):
        await ask(nats, prefix, "project.register", envelope("project.register", PROJECT))
        with psycopg.connect(database) as conn:
            conn.execute("SELECT FROM projects FOR UPDATE")  # held until the block ends
            update = {"remote_origin": ORIGIN, "name": "held up"}
            for number in range(40):  # more than there are connections
                payload = envelope("project.update", update | {"description": str(number)})
                await publish(nats, prefix, "project.update", payload)
            other = {"name": "q", "remote_origin": "git@github.com:a/q.git"}
            outcome = await ask(nats, prefix, "project.register", envelope("project.register", other))
            assert outcome["verdict"] == "applied"
            assert rows(database, "SELECT count(*) FROM command_ledger") == [(2,)]
        await until_empty(nats, prefix)
    assert rows(database, "SELECT description FROM projects WHERE name = 'held up'") == [("39",)]


async def test_sixteen_senders_that_register_one_origin_at_once_get_one_id(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_applier(database, nats_url, prefix):
        outcomes = await asyncio.gather(
            *[ask(nats, prefix, "project.register", envelope("project.register", PROJECT)) for _ in range(16)]
        )
    assert len({outcome["result"]["project_id"] for outcome in outcomes}) == 1
    assert sorted(outcome["verdict"] for outcome in outcomes) == ["applied", *["idempotent"] * 15]
    assert rows(database, "SELECT count(*) FROM outbox WHERE action = 'registered'") == [(1,)]
    assert len(outcome_events(database)) == 16


async def test_no_more_commands_are_in_hand_than_the_window(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    names = Names(prefix).commands
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running_applier(database, nats_url, prefix))
        with psycopg.connect(database) as conn:
            conn.execute("LOCK TABLE projects")
            for number in range(2 * WINDOW):
                data = {"name": "p", "remote_origin": f"git@github.com:a/p{number}.git"}
                await publish(nats, prefix, "project.register", envelope("project.register", data))
            (consumer,) = await nats.jetstream().consumers_info(names.stream)
            assert (consumer.num_ack_pending, consumer.num_pending) == (WINDOW, WINDOW)
        await until_empty(nats, prefix)
    assert rows(database, "SELECT count(*) FROM projects") == [(2 * WINDOW,)]


async def test_a_second_applier_stands_by_and_takes_over_at_once_when_the_first_stops(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with AsyncExitStack() as first:
        leader = await first.enter_async_context(running_applier(database, nats_url, prefix))
        async with running_applier(database, nats_url, prefix) as second:
            assert (leader.role, second.role) == ("leader", "standby")
            await ask(nats, prefix, "project.register", envelope("project.register", PROJECT))
            await first.aclose()
            outcome = await ask(nats, prefix, "project.register", envelope("project.register", PROJECT))
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
    database: str, nats_url: str, prefix: str, nats: Client, config: dict[str, Any], reason: str
) -> None:
    subjects = [subject.format(prefix=prefix) for subject in config["subjects"]]
    name = Names(prefix).commands.stream
    await nats.jetstream().add_stream(StreamConfig(**config | {"name": name, "subjects": subjects}))
    with pytest.raises(Conflict, match=reason):
        await Applier(settings_for(database, nats_url, prefix), ApplierMetrics(CollectorRegistry())).run()


async def test_somebody_elses_consumer_on_our_commands_is_named(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    name = Names(prefix).commands.stream
    await nats.jetstream().add_stream(
        StreamConfig(name=name, subjects=[f"{prefix}.cmd.>"], retention=RetentionPolicy.WORK_QUEUE)
    )
    await nats.jetstream().add_consumer(
        name, ConsumerConfig(durable_name="theirs", filter_subject=f"{prefix}.cmd.v1.project.>")
    )
    with pytest.raises(Conflict, match="consumers that take our commands: theirs"):
        await Applier(settings_for(database, nats_url, prefix), ApplierMetrics(CollectorRegistry())).run()


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
