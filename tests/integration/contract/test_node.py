"""Consumers in Node that know nothing of this project but its contract, and the official AsyncAPI parser."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from registry.commands import COMMANDS
from registry.events import VERSIONS
from tests.support.every_event import change_everything
from tests.support.node.packages import install
from tests.support.world import World

ROOT = Path(__file__).parents[3]
PROJECT = ROOT / "tests/node"

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not there")


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """The packages of the lock file; installed once, and again when it changes."""
    install(PROJECT)


def test_the_lock_file_names_no_registry() -> None:
    assert "resolved" not in (PROJECT / "package-lock.json").read_text()


def test_the_official_parser_accepts_the_asyncapi_document() -> None:
    done = subprocess.run(
        ["node", "asyncapi.mjs", str(ROOT / "schemas/asyncapi.json")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["sends"] == [f"imi.evt.v1.{name}.{{project_id}}" for name in VERSIONS]
    assert set(found["receives"]) > {f"imi.cmd.v1.{name}" for name in COMMANDS}
    types = {f"imi.{name}.v{number}" for name in VERSIONS for number in range(1, len(VERSIONS[name]) + 1)}
    assert types < set(found["messages"])


async def test_a_consumer_in_node_subscribes_validates_registers_and_replays(world: World) -> None:
    with world.process() as service, psycopg.connect(world.database, autocommit=True) as writer:
        # given a history with every kind of event
        await service.ready()
        change_everything(writer, world.nats.max_payload)
        await world.drained()

        # when the consumer runs, and others write meanwhile
        process = await asyncio.create_subprocess_exec(
            *[
                "node",
                "consumer.mjs",
                world.nats_url,
                world.prefix,
                str(ROOT / "schemas"),
                "https://github.com/33god/from-node",
            ],
            cwd=PROJECT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60):
                assert process.stdout is not None
                assert await process.stdout.readline() == b"subscribed\n"
                writer.execute("SELECT register_project('meanwhile', 'git@github.com:a/meanwhile.git')")
                out, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, errors.decode()
        found: dict[str, Any] = json.loads(out)
        project = writer.execute("SELECT id::text FROM projects WHERE name = 'from-node'").fetchone()
        history = [row[0] for row in writer.execute("SELECT event_id::text FROM outbox ORDER BY id")]

    # then everything it met was as the schemas say, it was answered, and it has seen all there ever was
    assert found["faults"] == []
    assert found["kept"]["stream"] == f"{world.prefix.upper()}_COMMANDS"
    assert found["outcome"]["verdict"] == "applied"
    assert (found["outcome"]["result"]["project_id"],) == project
    caused = [event["type"] for event in found["live"] if event.get("causationid") == found["command"]["id"]]
    assert caused == ["imi.project.registered.v1", "imi.command.applied.v1"]
    assert {event["type"] for event in found["replayed"]} == {f"imi.{name}.v1" for name in VERSIONS}
    assert sorted(event["id"] for event in found["replayed"]) == sorted(history)


async def test_the_program_of_the_readme_prints_what_changes(world: World) -> None:
    (program,) = re.findall(r"```js\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(program.splitlines()) <= 10
    program = program.replace('"imi.evt', f'"{world.prefix}.evt')
    async with world.relay(), asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(
            *["node", "--input-type=module", "--eval", program],
            cwd=PROJECT,
            env=os.environ | {"NATS_URL": world.nats_url},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            line = asyncio.ensure_future(process.stdout.readline())
            while not (await asyncio.wait([line], timeout=0.1))[0]:  # it sees what is written after it has subscribed
                world.write(projects=1, worktrees=1, renames=0)
            assert re.match(rb"imi\.worktree\.\w+\.v1 .+ \[", await line)
        finally:
            process.kill()
            await process.wait()


async def test_a_consumer_in_node_reads_and_writes_numbers_with_all_their_digits(world: World) -> None:
    async with world.relay(), world.applier():
        process = await asyncio.create_subprocess_exec(
            *["node", "exact.mjs", world.nats_url, world.prefix, "git@github.com:33god/exact.git"],
            cwd=PROJECT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, errors = await process.communicate()

    assert process.returncode == 0, errors.decode()
    stored = world.rows("SELECT metadata::text FROM projects")
    assert stored == [('{"half": 0.5, "count": 12345678901234567890123, "share": 0.12345678901234567890123}',)]
    assert out.decode().strip() == (
        '{"metadata":{"half":0.5,"count":12345678901234567890123,"share":0.12345678901234567890123},'
        '"text":"12345678901234567890123"}'
    )
