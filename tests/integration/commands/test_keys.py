"""An idempotency key belongs to the sender who gave it; a command that is refused for its actor takes none."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
import pytest

from publisher.applier.keys import keys
from registry.commands.reading import read
from tests.support.commands import PROJECT, envelope
from tests.support.world import World

ACTORS = {"flume": ["flume"], "other": ["other"]}
KEY = "register-flow-engine"
REAL = "project.register"


class First(NamedTuple):
    """A command that comes first with the key, how it ends, and whether it holds the key then."""

    name: str
    data: dict[str, Any]
    ends: tuple[str, str | None]
    actor: str | None = None
    takes_key: bool = True


FIRSTS = {
    "applied": First("worktree_type.add", {"name": "spike"}, ("applied", None)),
    "idempotent": First("worktree_type.add", {"name": "feat"}, ("idempotent", None)),
    "not found": First("project.deactivate", {"project_id": str(uuid4())}, ("rejected", "NOT_FOUND")),
    "conflict": First("worktree_type.add", {"name": "feat", "branch_prefix": "f-"}, ("rejected", "CONFLICT")),
    "a bad value": First("project.register", PROJECT | {"remote_origin": "nowhere"}, ("rejected", "VALIDATION_ERROR")),
    "no such field": First("project.register", {"no": "field"}, ("rejected", "VALIDATION_ERROR")),
    "another's actor": First(
        "worktree_type.add", {"name": "spike"}, ("rejected", "VALIDATION_ERROR"), actor="ada", takes_key=False
    ),
}


def sent(first: First) -> bytes:
    given = {} if first.actor is None else {"actor": first.actor}
    return envelope(first.name, first.data, idempotencykey=KEY, **given)


def ended(outcome: dict[str, Any]) -> tuple[str, str | None]:
    return outcome["verdict"], outcome["code"]


@pytest.mark.parametrize("kind", FIRSTS)
@pytest.mark.parametrize(
    ("before", "after"), [("other", "flume"), (None, "flume"), ("flume", None), ("flume", "flume"), (None, None)]
)
async def test_a_key_is_its_senders_however_the_first_command_with_it_ended(
    world: World, before: str | None, after: str | None, kind: str
) -> None:
    first = FIRSTS[kind]
    if kind == "another's actor" and before is None:
        first = first._replace(ends=("applied", None), takes_key=True)  # of nobody's subject nobody is refused

    async with world.applier(actors=ACTORS):
        answered = await world.ask(first.name, sent(first), before)
        same = await world.ask(first.name, sent(first), before)
        outcomes = [await world.ask(REAL, envelope(REAL, PROJECT, idempotencykey=KEY), after) for _ in range(2)]

    assert ended(answered) == first.ends
    assert (same == answered) if first.takes_key else (ended(same) == first.ends)
    if before == after and first.takes_key:
        assert [ended(outcome) for outcome in outcomes] == [("rejected", "CONFLICT")] * 2
    else:
        assert ended(outcomes[0]) == ("applied", None)
        assert outcomes[1] == outcomes[0]


async def test_what_was_refused_for_its_actor_is_done_when_it_comes_as_the_right_one(world: World) -> None:
    async with world.applier(actors=ACTORS):
        wrong = envelope("project.register", PROJECT, idempotencykey=KEY, actor="ada")
        assert ended(await world.ask("project.register", wrong, "flume")) == ("rejected", "VALIDATION_ERROR")
        assert ended(await world.ask("project.register", wrong, "flume")) == ("rejected", "VALIDATION_ERROR")
        right = envelope("project.register", PROJECT, idempotencykey=KEY, actor="flume")
        assert ended(await world.ask("project.register", right, "flume")) == ("applied", None)
        other = envelope("project.register", PROJECT, idempotencykey=KEY, actor="ada")
        assert ended(await world.ask("project.register", other, "flume")) == ("rejected", "VALIDATION_ERROR")


@pytest.mark.parametrize("sender", ["flume", None])
async def test_a_key_of_before_is_whoever_comes_with_it(world: World, sender: str | None) -> None:
    """A retry of what an applier of before has carried out finds its outcome, on whatever subject it comes."""
    command = envelope("project.register", PROJECT, idempotencykey=KEY)
    async with world.applier():
        first = await world.ask("project.register", command, "flume")
        world.rows("UPDATE command_ledger SET sender = NULL RETURNING 1")
        again = envelope("project.register", PROJECT, idempotencykey=KEY)
        assert await world.ask("project.register", again, sender) == first
        other = envelope("project.register", PROJECT | {"name": "q"}, idempotencykey=KEY)
        assert ended(await world.ask("project.register", other, sender)) == ("rejected", "CONFLICT")


def test_an_applier_of_before_finds_a_key_whoever_has_it(database: str) -> None:
    call = "SELECT command_id FROM apply_command(%s, 'worktree_type.add', %s, %s, %s, 'k'"
    with psycopg.connect(database, autocommit=True) as conn:

        def applied(name: str, **given: str) -> UUID:
            values: list[Any] = [command := uuid4(), f'{{"name": "{name}"}}', name.encode(), command, *given.values()]
            end = "".join(f", {parameter} := %s" for parameter in given)
            row = conn.execute(f"{call}{end})".encode(), values).fetchone()
            return UUID(str(row and row[0]))

        first, second = applied("a", p_sender="flume"), applied("b", p_sender="other")
        assert (applied("a"), applied("b")) == (first, second)
        assert conn.execute("SELECT count(*) FROM command_ledger").fetchone() == (2,)


def test_commands_with_one_key_wait_for_each_other_where_it_is_of_one_sender() -> None:
    one, other = (
        read(
            envelope("project.register", PROJECT | {"remote_origin": f"a/{n}"}, idempotencykey=KEY), "project.register"
        )
        for n in range(2)
    )
    assert keys(one._replace(sender="flume")) & keys(other._replace(sender="flume"))
    assert not keys(one._replace(sender="flume")) & keys(other._replace(sender="other"))
