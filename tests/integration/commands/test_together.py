"""Commands that are carried out in one transaction: as each would be alone, and never at the cost of a neighbour."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from publisher.applier import ledger
from publisher.applier.workers import MOST_TOGETHER
from registry.commands.reading import Command, read
from tests.support.commands import envelope, rows
from tests.support.world import World

APPLIED_TOGETHER = """
SELECT count(*)
FROM (SELECT transaction_id FROM outbox WHERE entity = 'command' GROUP BY 1 HAVING count(*) > 1) AS several
"""


def command(name: str, data: dict[str, Any], **attributes: object) -> Command:
    return read(envelope(name, data, **attributes), name)


def add_type(name: str, **attributes: object) -> Command:
    return command("worktree_type.add", {"name": name}, **attributes)


def worktrees(database: str, count: int) -> list[UUID]:
    """Ids of so many worktrees, in the order of their names."""
    with psycopg.connect(database) as conn:
        conn.execute("SELECT register_project('p', 'git@github.com:a/p.git')")
        conn.execute(
            "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
            " SELECT p.id, 1, 'w' || n, 'b' || n, '/w' || n FROM projects p, generate_series(10, 9 + %s) n",
            [count],
        )
        return [row[0] for row in conn.execute("SELECT id FROM worktrees ORDER BY name")]


async def create_stream(world: World) -> None:
    """Let an applier create the command stream, and go."""
    async with world.applier():
        pass


def update(worktree: UUID, ahead: int) -> bytes:
    return envelope("worktree.update_git_state", {"worktree_id": str(worktree), "ahead": ahead})


async def test_an_outcome_is_of_its_commands_project_and_of_no_other_commands_host(database: str) -> None:
    """The first event of what registers a host is of that one, and what it says of its host is the transaction's."""
    (worktree,) = worktrees(database, 1)
    (project,) = rows(database, "SELECT id FROM projects")[0]
    seen = {
        "name": "n",
        "type_name": "feat",
        "branch_name": "n",
        "path": "/n",
        "project_id": str(project),
        "host": "new",
    }
    commands = [
        command("worktree.register", seen),
        command("worktree_type.add", {"name": 7}),
        command("worktree_type.remove", {"name": "nowhere"}),
        command("worktree.update_git_state", {"worktree_id": str(worktree), "ahead": 3}),
    ]

    async with ledger.connect(database, "together", lock_seconds=1) as conn:
        outcomes = await ledger.apply(conn, commands)

    assert [outcome.verdict for outcome in outcomes] == ["applied", "rejected", "rejected", "applied"]
    told = dict(rows(database, "SELECT causation_id, project_id FROM outbox WHERE entity = 'command'"))
    noted = dict(rows(database, "SELECT command_id, project_id FROM command_ledger"))
    assert told == noted == dict(zip([one.id for one in commands], [project, None, None, project], strict=True))
    hosts = dict(rows(database, "SELECT causation_id, host_id FROM outbox WHERE entity = 'command'"))
    (new,) = rows(database, "SELECT id FROM hosts WHERE name = 'new'")[0]
    assert hosts == dict(zip([one.id for one in commands], [new, None, None, None], strict=True))


async def test_outcomes_stand_in_the_order_of_the_commands(database: str) -> None:
    conversation = uuid4()
    commands = [
        add_type("one", correlationid=str(conversation), actor="ada"),
        add_type("feat"),
        command("worktree_type.remove", {"name": "nowhere"}),
        command("worktree_type.add", {"name": 7}),
        add_type("two", idempotencykey="k"),
        add_type("three"),
    ]

    async with ledger.connect(database, "together", lock_seconds=1) as conn:
        outcomes = await ledger.apply(conn, commands)
        again = await ledger.apply(conn, [*commands[::-1], add_type("two", idempotencykey="k")])

    assert [outcome.command_id for outcome in outcomes] == [each.id for each in commands]
    assert [outcome.verdict for outcome in outcomes] == [
        *("applied", "idempotent", "rejected", "rejected", "applied", "applied")
    ]
    assert [outcome.code for outcome in outcomes] == [None, None, "NOT_FOUND", "VALIDATION_ERROR", None, None]
    assert again == [*outcomes[::-1], outcomes[4]]
    told = rows(database, "SELECT causation_id, correlation_id, actor, entity, action FROM outbox ORDER BY id")
    first, idempotent, missing, invalid, second, third = (each.id for each in commands)
    assert told == [
        (first, conversation, "ada", "worktree_type", "added"),
        (first, conversation, "ada", "command", "applied"),
        (idempotent, idempotent, None, "command", "applied"),
        (missing, missing, None, "command", "rejected"),
        (invalid, invalid, None, "command", "rejected"),
        (second, second, None, "worktree_type", "added"),
        (second, second, None, "command", "applied"),
        (third, third, None, "worktree_type", "added"),
        (third, third, None, "command", "applied"),
    ]
    assert rows(database, "SELECT count(DISTINCT transaction_id) FROM outbox") == [(1,)]


async def test_one_that_cannot_be_carried_out_now_leaves_all_undone(database: str) -> None:
    taken = add_type("taken")

    async with ledger.connect(database, "together", lock_seconds=0.1) as conn:
        await ledger.apply_one(conn, taken)
        before = rows(database, "SELECT count(*) FROM outbox")
        with pytest.raises(ledger.IdTaken):
            await ledger.apply(conn, [add_type("one"), add_type("other", id=str(taken.id)), add_type("two")])
        with psycopg.connect(database) as other:
            other.execute("SELECT FROM worktree_types WHERE name = 'taken' FOR UPDATE")
            with pytest.raises(ledger.Busy):
                await ledger.apply(conn, [add_type("one"), command("worktree_type.remove", {"name": "taken"})])
        assert rows(database, "SELECT name FROM worktree_types WHERE NOT is_builtin") == [("taken",)]
        assert rows(database, "SELECT count(*) FROM outbox") == before
        assert rows(database, "SELECT count(*) FROM command_ledger") == [(1,)]


async def test_a_burst_of_good_and_bad_ones_ends_as_each_would_alone(world: World) -> None:
    """They wait in the stream when the applier comes, so that it has many at once."""
    ids = worktrees(world.database, 30)
    taken = uuid4()

    async with world.applier():
        data = {"worktree_id": str(ids[0]), "ahead": 99}
        await world.send("worktree.update_git_state", envelope("worktree.update_git_state", data, id=str(taken)))
        await world.commands_done()
    for number, worktree in enumerate(ids):
        await world.send("worktree.update_git_state", update(worktree, number + 1))
        match number % 10:
            case 3:
                bad = envelope("worktree_type.add", {"name": f"t{number}"}, id=str(taken))
                await world.send("worktree_type.add", bad)
            case 6:
                bad = envelope("project.register", {"name": "a\0b", "remote_origin": f"git@github.com:a/n{number}.git"})
                await world.send("project.register", bad)
            case 9:
                bad = envelope("worktree.claim", {"worktree_id": str(uuid4()), "agent_id": "ada"})
                await world.send("worktree.claim", bad)
    async with world.applier() as metrics:
        await world.commands_done()
        async with asyncio.timeout(20):
            while metrics.dead_letters < 3:  # the last one is counted once it is gone from the stream
                await asyncio.sleep(0.01)
    assert metrics.dead_letters == 3

    assert world.rows("SELECT ahead_of_trunk FROM worktrees ORDER BY name") == [(n + 1,) for n in range(30)]
    verdicts = [verdict for *_, verdict in world.outcome_events()]
    assert (verdicts.count("applied"), verdicts.count("rejected")) == (31, 6)
    ((together,),) = world.rows(APPLIED_TOGETHER)
    assert together > 0


async def test_one_that_waits_for_a_lock_holds_up_none_that_came_with_it(world: World) -> None:
    ids = worktrees(world.database, 3 * MOST_TOGETHER)
    await create_stream(world)
    for worktree in ids:
        await world.send("worktree.update_git_state", update(worktree, 7))

    with psycopg.connect(world.database) as holder:
        holder.execute("SELECT FROM worktrees WHERE id = %s FOR UPDATE", [ids[2]])
        async with world.applier():
            async with asyncio.timeout(20):
                while len(world.outcome_events()) < len(ids) - 1:
                    await asyncio.sleep(0.01)
            holder.rollback()
            await world.commands_done()

    assert world.rows("SELECT DISTINCT ahead_of_trunk FROM worktrees") == [(7,)]
    assert [verdict for *_, verdict in world.outcome_events()] == ["applied"] * len(ids)


@pytest.mark.parametrize("number", range(3))
async def test_another_writer_never_is_the_victim_of_a_deadlock(world: World, number: int) -> None:
    """The other one holds the last row of the transaction and wants the first."""
    ids = worktrees(world.database, MOST_TOGETHER)
    await create_stream(world)
    for worktree in ids:
        await world.send("worktree.update_git_state", update(worktree, number + 1))
    change = "UPDATE worktrees SET agent_id = 'other' WHERE id = %s"

    async with await psycopg.AsyncConnection.connect(world.database) as other:
        await other.execute(change, [ids[-1]])
        async with world.applier(), asyncio.timeout(20):
            while is_free(world.database, ids[0]):
                await asyncio.sleep(0.001)
            await other.execute(change, [ids[0]])  # it waits for the applier, which waits for it
            await other.commit()
            await world.commands_done()

    found = world.rows("SELECT ahead_of_trunk, agent_id FROM worktrees ORDER BY name")
    assert {ahead for ahead, _ in found} == {number + 1}
    assert [agent for _, agent in found] == ["other", *[None] * (MOST_TOGETHER - 2), "other"]
    assert [verdict for *_, verdict in world.outcome_events()] == ["applied"] * MOST_TOGETHER


def is_free(database: str, worktree: UUID) -> bool:
    """Whether nobody has a lock on a row."""
    return bool(rows(database, "SELECT FROM worktrees WHERE id = %s FOR UPDATE SKIP LOCKED", worktree))


async def test_what_one_command_changed_is_stored_together_and_its_neighbours_beside_it(world: World) -> None:
    ids = worktrees(world.database, 4)
    updates = [command("worktree.update_git_state", {"worktree_id": str(each), "ahead": 7}) for each in ids]
    deactivation = command("project.deactivate", {"remote_origin": "git@github.com:a/p.git"})
    told = []
    for commands in ([*updates, add_type("one")], [deactivation, add_type("two")]):
        async with world.relay():  # all that is there before
            await world.drained()
        async with ledger.connect(world.database, "together", lock_seconds=10) as conn:
            await ledger.apply(conn, commands)
        async with world.relay():
            await world.drained()
        told.append([message for message in await world.published() if "causationid" in message.envelope])

    alone, together = told[0], told[1][len(told[0]) :]
    assert (len(alone), len({message.envelope["transactionid"] for message in alone})) == (10, 1)
    assert not any("Nats-Batch-Id" in message.headers for message in alone)
    of_one = [each for each in together if each.envelope["causationid"] == str(deactivation.id)]
    assert len(of_one) == 6
    assert len({message.headers["Nats-Batch-Id"] for message in of_one}) == 1
    await world.assert_exactly_once()
