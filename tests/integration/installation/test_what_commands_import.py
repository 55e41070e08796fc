"""What a command that reads has imported when it ends: what it worked with, and no more. No clock is as exact."""

from __future__ import annotations

import asyncio
import subprocess
import sys

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


async def test_who_looks_whether_all_is_well_needs_no_model_of_an_event(world: World) -> None:
    async with world.relay():
        world.write()
        await world.drained()
        found = await asyncio.to_thread(imported, world, "doctor", database_url=world.database)
    assert found >= DATABASE | {"nats"}
    assert [module for module in found if module.startswith("registry.events.") and module not in ENVELOPES] == []


async def test_a_command_that_reads_the_stream_needs_no_database(world: World) -> None:
    async with world.relay():
        world.write()
        await world.drained()
    found = await asyncio.to_thread(imported, world, "events", "replay", "--from-start", "--json")
    assert "nats" in found
    assert found & (DATABASE | SERVICE | TABLES) == set()
