"""Commands by bytes over NATS: carried out once, answered, in order, with an outcome event each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import orjson
import psycopg
import pytest

from publisher.applier import workers
from publisher.applier.command_stream import WINDOW
from tests.support.commands import ORIGIN, PROJECT, envelope
from tests.support.world import World


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
        async with asyncio.timeout(20):  # it is counted once the server has said that the command is gone
            while not metrics.dead_letters:
                await asyncio.sleep(0.01)

    assert metrics.dead_letters == 1
    assert (outcome["verdict"], outcome["code"]) == ("rejected", "CONFLICT")
    assert world.rows("SELECT name FROM projects") == [("p",)]
    assert world.rows("SELECT verdict FROM command_ledger") == [("applied",)]
    letter = await world.nats.jetstream().get_msg(world.names.commands.dead_letter_stream, 1, direct=True)
    assert letter.subject == f"{world.prefix}.dlq.v1.project.register"
    assert orjson.loads(letter.data or b"")["id"] == command_id


async def test_one_whose_id_is_taken_and_that_waited_for_a_lock_waits_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "LONG_LOCK_SECONDS", 0.1)
    command_id = str(uuid4())
    async with world.applier() as metrics, asyncio.timeout(60):
        await world.ask("project.register", envelope("project.register", PROJECT, id=command_id))
        with psycopg.connect(world.database) as conn:
            conn.execute("LOCK TABLE command_ledger")
            await world.send("project.register", envelope("project.register", PROJECT | {"name": "q"}, id=command_id))
            while not metrics.problems():
                await asyncio.sleep(0.01)
        while not metrics.dead_letters:
            await asyncio.sleep(0.01)
        assert metrics.problems() == []


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
