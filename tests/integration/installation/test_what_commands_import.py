"""What a command that reads has imported when it ends: what it worked with, and no more. No clock is as exact."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from tests.support.processes import environment
from tests.support.world import World

SCRIPT = """
import gc, sys
from publisher.cli.main import main
collections = []
gc.callbacks.append(lambda *_: collections.append("collection"))
try:
    main()
except SystemExit as end:
    print(*sys.modules, *collections, file=sys.stderr)
    raise
"""
TABLES = {"rich", "pygments"}
BROKER = {"nats", "zstandard", "nacl"}
DATABASE = {"psycopg", "psycopg_pool"}
SERVICE = {"jinja2", "jsonschema", "opentelemetry", "prometheus_client", "starlette", "uvicorn"}
MODELS = {"registry.events.catalogue", "registry.commands.catalogue"}
ENVELOPES = {f"registry.events.{module}" for module in ("actions", "envelope", "filter", "message", "reference")}
ROWS = {"registry.models", "registry.database.registry"}
CHECKOUTS = {"publisher.checkouts.git"}
ELSEWHERE = {"tomllib", "publisher.embedded.endpoints"}
"""Where settings may stand that the environment has."""


def imported(world: World, *arguments: str, database_url: str | None = None) -> set[str]:
    """The modules of a process that has run a command."""
    urls = {"NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    urls |= {} if database_url is None else {"DATABASE_URL": database_url}
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(**urls), check=False)
    assert done.returncode == 0, done.stderr
    found = set(done.stderr.split())
    assert "collection" not in found, "what is imported stays: to look for cycles in it takes a tenth of the time"
    return found


def test_a_command_that_reads_the_database_speaks_to_nobody_else(world: World) -> None:
    found = imported(world, "stats", "--json", database_url=world.database)
    assert found >= DATABASE
    assert found & (TABLES | BROKER | SERVICE | MODELS | ELSEWHERE) == set()

    assert imported(world, "stats", database_url=world.database) & (BROKER | SERVICE | MODELS) == set()
    assert imported(world, "history", "verify", database_url=world.database) & (BROKER | SERVICE | TABLES) == set()


@pytest.mark.parametrize("command", ["months status", "migrate status", "roles show"])
def test_a_command_with_a_connection_of_its_own_needs_no_model_of_a_row(world: World, command: str) -> None:
    found = imported(world, *command.split(), database_url=world.database)
    assert found >= DATABASE
    assert found & (BROKER | SERVICE | MODELS | ROWS) == set()


def test_a_command_that_asks_no_server_needs_none_of_their_clients(world: World) -> None:
    assert (
        imported(world, "config", "show", database_url=world.database) & (DATABASE | BROKER | SERVICE | ROWS) == set()
    )


async def test_who_looks_whether_all_is_well_needs_no_model_of_an_event(world: World) -> None:
    async with world.relay():
        world.write()
        await world.drained()
        found = await asyncio.to_thread(imported, world, "doctor", database_url=world.database)
        shown = await asyncio.to_thread(imported, world, "status", database_url=world.database)
    assert found >= DATABASE | {"nats"}
    assert [module for module in found if module.startswith("registry.events.") and module not in ENVELOPES] == []
    assert found & (SERVICE | TABLES) == set()
    assert shown & SERVICE == set()


async def test_a_command_that_reads_the_stream_needs_no_database(world: World) -> None:
    async with world.relay():
        world.write()
        await world.drained()
    replay = ("events", "replay", "--from-start", "--json")
    found = await asyncio.to_thread(imported, world, *replay, database_url=world.database)
    assert "nats" in found
    assert found & (DATABASE | SERVICE | TABLES | ROWS | CHECKOUTS) == set()
    for command in ("actions", "events dead-letters list"):
        found = await asyncio.to_thread(imported, world, *command.split(), database_url=world.database)
        assert found & (DATABASE | SERVICE | CHECKOUTS) == set()
