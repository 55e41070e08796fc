"""Numbers in metadata, whichever way they come in: the same in the tables, in events, and for every reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from publisher.history.archive import export_history, import_history
from publisher.history.verification import verify
from publisher.outbox.connection import connect
from registry import exact
from registry.client import RegistryClient, Sending
from registry.database import Registry
from registry.errors import Invalid, RegistryError
from registry.events import parse
from tests.support.cli.forked import run
from tests.support.commands import envelope
from tests.support.world import World

NUMBERS = {
    "i": "12345678901234567890123",
    "d": "0.12345678901234567890123",
    "z": "1.10",
    "max": "18446744073709551616",
    "min": "-9223372036854775809",
    "f": "0.1",
    "tiny": "0.000000000000000000000000000000000000000001",
    "digits": "9" * 300,
}
TEXT = "{" + ", ".join(f'"{name}": {digits}' for name, digits in NUMBERS.items()) + "}"
STORED = {name: Decimal(digits) for name, digits in NUMBERS.items()}
WAYS = ("sql", "command", "client", "registry", "command line", "commands send")


def digits(value: Any) -> dict[str, Decimal]:
    """Numbers with their scale, from a JSON text or from a value as Python has it."""
    text = value if isinstance(value, str | bytes) else exact.dumps(value)
    found: dict[str, Decimal] = json.loads(text, parse_int=Decimal, parse_float=Decimal)
    return found


def same_digits(found: Any) -> bool:
    return {name: number.as_tuple() for name, number in digits(found).items()} == {
        name: number.as_tuple() for name, number in STORED.items()
    }


def all_same(found: Iterable[Any]) -> bool:
    return [same_digits(value) for value in found] == [True] * len(WAYS)


@pytest.fixture
async def client(world: World) -> AsyncIterator[RegistryClient]:
    async with (
        world.relay(),
        world.applier(),
        world.queries(),
        world.history(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as connected,
    ):
        yield connected


async def written(way: str, world: World, client: RegistryClient) -> None:
    """A project with these numbers, registered in one of the ways there are."""
    origin = f"git@github.com:exact/{WAYS.index(way)}.git"
    data = {"name": way, "remote_origin": origin, "metadata": exact.loads(TEXT)}
    if way == "sql":
        with psycopg.connect(world.database) as conn:
            conn.execute("SELECT register_project(%s, %s, p_metadata => %s::jsonb)", [way, origin, TEXT])
    elif way == "command":
        payload = exact.dumps(exact.loads(envelope("project.register", {})) | {"data": data})
        await world.send("project.register", payload)
        await world.commands_done()
    elif way == "client":
        await client.register_project(**data)
    elif way == "registry":
        async with Registry.connect(world.database) as registry:
            await registry.register_project(way, origin, metadata=data["metadata"])
    else:
        given = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
        arguments = ["project", "register", "--name", way, "--origin", origin, "--metadata", TEXT, "--json"]
        if way == "commands send":
            arguments = ["commands", "send", "project.register", exact.dumps(data).decode()]
        done = await asyncio.to_thread(run, *arguments, **given)
        assert done.returncode == 0, done.stderr
        if way == "command line":
            assert same_digits(exact.dumps(exact.loads(done.stdout)["metadata"]))


async def test_all_digits_go_all_ways(world: World, second: World, client: RegistryClient) -> None:
    # given
    async with client.projection() as kept:
        for way in WAYS:
            await written(way, world, client)
        await world.drained()
        await kept.reached(await client.last_sequence())

        # then: in the tables, a projection, a snapshot, queries, events
        stored = dict(world.rows("SELECT name, metadata::text FROM projects"))
        assert {name: same_digits(text) for name, text in stored.items()} == dict.fromkeys(WAYS, True)
        assert all_same(project.metadata for project in kept.projects.values())
    assert all_same(project.metadata for project in (await client.snapshot()).projects.values())
    assert all_same(project.metadata for project in (await client.queries.projects()).projects)
    events = [parse(event.payload) for event in await world.replayed(entity="project", action="registered")]
    assert all_same(event.data.metadata for event in events)  # type: ignore[union-attr]

    # and: verified, exported and imported
    assert (await verify(world.settings())).differences == []
    lines: list[bytes] = []
    async with connect(world.database, "test") as conn:
        await export_history(conn, world.settings(), lines.append)
    async with connect(second.database, "test") as conn:
        await import_history(conn, second.settings(), lines)
    assert all_same(text for (text,) in second.rows("SELECT metadata::text FROM projects"))


async def test_a_change_of_scale_alone_is_no_difference(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("""SELECT register_project('p', 'git@github.com:a/p.git', p_metadata => '{"z": 1.1}')""")
        conn.execute("""UPDATE projects SET metadata = '{"z": 1.10}'""")

    assert (await verify(world.settings())).differences == []


async def test_a_redelivered_command_with_such_numbers_is_the_same_command(
    world: World, client: RegistryClient
) -> None:
    data = {"name": "p", "remote_origin": "git@github.com:a/p.git", "metadata": exact.loads(TEXT)}
    sending = Sending(idempotency_key="once")

    first = await client.send("project.register", data, sending)
    again = await client.send("project.register", data, sending)

    assert (first.verdict, again.verdict, again.command_id) == ("applied", "applied", first.command_id)


UNSENDABLE: list[Any] = [
    float("nan"),
    float("inf"),
    Decimal("NaN"),
    10**400,
    Decimal("1e309"),
    "\ud800",
    "a\0b",
    object(),
]


@pytest.mark.parametrize("value", UNSENDABLE, ids=["nan", "inf", "NaN", "400", "309", "half", "nul", "object"])
async def test_what_cannot_be_stored_is_refused_by_name_before_it_is_sent(
    world: World, client: RegistryClient, value: Any
) -> None:
    project: dict[str, Any] = {"name": "p", "remote_origin": "git@github.com:a/p.git"}
    before = await world.nats.jetstream().stream_info(world.names.commands.stream)

    for call in (
        client.register_project(**project, metadata={"deep": [value]}),
        client.send("project.register", project | {"metadata": {"deep": [value]}}),
        client.post("project.register", project | {"metadata": {"deep": [value]}}),
    ):
        with pytest.raises(Invalid, match=r"project\.register: metadata\.deep\.0: "):
            await call
    async with Registry.connect(world.database) as registry:
        with pytest.raises(Invalid, match=r"metadata\.deep\.0: "):
            await registry.register_project("p", "git@github.com:a/p.git", metadata={"deep": [value]})

    after = await world.nats.jetstream().stream_info(world.names.commands.stream)
    assert after.state.last_seq == before.state.last_seq


async def test_text_that_is_none_and_what_is_too_large_raise_nothing_but_our_own_errors(
    world: World, client: RegistryClient
) -> None:
    half = "\ud800"
    some = UUID(int=1)
    huge = {"k": "x" * (world.nats.max_payload + 1)}
    for call in (
        client.register_project(name=half, remote_origin="git@github.com:a/p.git"),
        client.register_project(name="p", remote_origin="git@github.com:a/p.git", metadata=huge),
        client.post("project.register", {"name": "p", "remote_origin": "git@github.com:a/p.git", "metadata": huge}),
        client.register_project(name="p", remote_origin="git@github.com:a/p.git", sending=Sending(actor=half)),
        client.release_worktree(worktree_id=some, sending=Sending(idempotency_key=half)),
        client.release_worktree(worktree_id=some, agent_id=half),
        client.queries.search_projects(half),
        client.queries.search_projects("x" * 100_000),
        client.queries.project_by_origin("x" * (world.nats.max_payload + 1)),
        client.queries.worktree_by_path(half),
    ):
        with pytest.raises(RegistryError) as refused:
            await call
        assert isinstance(refused.value, Invalid), refused.value
