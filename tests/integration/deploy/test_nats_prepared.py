"""`imi-registry events dead-letters prepare`, by an operator, for a subscription that may make no stream itself."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator

import pytest

from registry.client import RegistryClient
from tests.support.cli.forked import run
from tests.support.nats.deployed import Deployed, deployed_server
from tests.support.world import World

PREPARE = ("events", "dead-letters", "prepare")
USERS = ("publisher", "applier", "command", "query", "durable", "live")


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with deployed_server() as server:
        yield server


async def prepared(url: str, prefix: str, *names: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(run, *PREPARE, *names, NATS_URL=url, IMI_PREFIX=prefix, **variables)


def variables_of(deployed: Deployed, user: str) -> dict[str, str]:
    return {f"IMI_{name.upper()}": str(value) for name, value in deployed.settings(user).items()}


async def test_the_stream_is_made_once_and_left_alone(world: World) -> None:
    first = await prepared(world.nats_url, world.prefix, "board")
    stream = world.profile.letters.stream("board")
    made = (await world.nats.jetstream().stream_info(stream)).config

    again = await prepared(world.nats_url, world.prefix, "board")

    for done in (first, again):
        assert (done.returncode, done.stdout, done.stderr) == (0, "dead letters of board can be kept\n", "")
    assert (made.subjects, made.max_msgs_per_subject) == ([world.profile.letters.stream_subjects("board")], 1)
    assert (await world.nats.jetstream().stream_info(stream)).config == made
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        assert await client.dead_letters.durables() == ["board"]


@pytest.mark.parametrize("name", ["", " ", "a.b", "a b", "*", ">", "ü", "x" * 65, "a\nb", "IMI/x", "\x1b[31mred"])
async def test_what_is_no_name_is_refused_and_nothing_made(world: World, name: str) -> None:
    done = await prepared(world.nats_url, world.prefix, name)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('imi-registry: durable "')
    assert done.stderr.endswith('" must be 1 to 64 letters, digits, "_" and "-"\n')
    assert done.stderr.removesuffix("\n").isprintable()
    names = [one.config.name or "" for one in await world.nats.jetstream().streams_info()]
    assert [one for one in names if one.startswith(world.profile.letters.stream(""))] == []


@pytest.mark.parametrize("names", [(), ("board", "other")], ids=["none", "two"])
async def test_it_takes_one_name(world: World, names: tuple[str, ...]) -> None:
    done = await prepared(world.nats_url, world.prefix, *names)
    assert (done.returncode, done.stdout) == (2, "")
    assert "argument" in done.stderr


async def test_a_stream_of_somebody_else_is_left_as_it_is(world: World) -> None:
    stream = world.profile.letters.stream("board")
    await world.nats.jetstream().add_stream(name=stream, subjects=[f"{world.prefix}.elsewhere"])
    try:
        done = await prepared(world.nats_url, world.prefix, "board")
        found = (await world.nats.jetstream().stream_info(stream)).config.subjects
    finally:
        await world.nats.jetstream().delete_stream(stream)
    assert (done.returncode, found) == (1, [f"{world.prefix}.elsewhere"])
    assert done.stderr.startswith(f"imi-registry: stream {stream} cannot be used: subjects are ")


async def test_a_server_that_is_away_is_told(world: World) -> None:
    done = await prepared("nats://127.0.0.1:1", world.prefix, "board")
    assert (done.returncode, done.stdout) == (3, "")
    assert "127.0.0.1:1" in done.stderr


@pytest.mark.parametrize("user", USERS)
async def test_who_may_not_make_it_is_told_which_right_is_missing(deployed: Deployed, user: str) -> None:
    done = await prepared(deployed.url, "imi", "component", **variables_of(deployed, user))

    assert (done.returncode, done.stdout) == (1, "")
    told = done.stderr.splitlines()[-1]
    assert told.startswith("imi-registry: cannot open stream IMI_DEAD_LETTERS_component: permissions violation for ")
    assert told.endswith((".STREAM.INFO.IMI_DEAD_LETTERS_component", ".STREAM.CREATE.IMI_DEAD_LETTERS_component"))


async def test_the_operator_makes_it_for_a_user_who_may_not(deployed: Deployed) -> None:
    done = await prepared(deployed.url, "imi", "component", **variables_of(deployed, "operator"))
    assert (done.returncode, done.stderr) == (0, "")

    again = await prepared(deployed.url, "imi", "component", **variables_of(deployed, "durable"))

    assert (again.returncode, again.stdout) == (0, "dead letters of component can be kept\n"), again.stderr
