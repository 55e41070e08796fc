"""Servers that are too old: PostgreSQL is not even connected to, of nats-server doctor tells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from publisher.doctor.commands import command_findings
from publisher.doctor.server import server_findings
from publisher.outbox.connection import connect
from tests.support.nats.debian import nats_binary_of_debian
from tests.support.nats.process import nats_process
from tests.support.nats.reading import connected
from tests.support.postgres.too_old import postgres_13
from tests.support.processes import run
from tests.support.world import World

COMMANDS = {"doctor": ["doctor"], "migrate": ["migrate", "up"], "list": ["project", "list"], "serve": ["serve"]}


@pytest.fixture(scope="module")
def old_postgres() -> Iterator[str]:
    with postgres_13() as url:
        yield url


@pytest.mark.parametrize("name", COMMANDS)
def test_a_postgresql_that_is_too_old_is_refused_with_its_version(old_postgres: str, nats_url: str, name: str) -> None:
    ended = run(*COMMANDS[name], DATABASE_URL=old_postgres, NATS_URL=nats_url)
    last = ended.stderr.strip().split("\n")[-1]
    assert (ended.returncode, "the server is PostgreSQL 13." in last) == (1, True), ended.stderr
    assert last.endswith("PostgreSQL 14 or later is needed")


async def test_a_nats_server_that_is_too_old_is_told_with_its_version(world: World, state_dir: Path) -> None:
    with nats_process(state_dir, binary=nats_binary_of_debian()) as server:
        async with connected(server.url()) as client, connect(world.database, "test") as conn:
            first, *others = await server_findings(conn, client)
            names = world.names.commands
            await client.jetstream().add_stream(name=names.stream, subjects=[names.filter])
            await client.jetstream().publish(names.command_subject("project.register"), b"")
            (waiting,) = await command_findings(client, world.settings())
    assert others == []
    assert waiting.text.startswith("1 command waits, for 0:00:")
    assert not first.is_well
    assert "and nats-server 2.9." in first.text
    assert first.text.endswith(": nats-server 2.10 or later is needed")
