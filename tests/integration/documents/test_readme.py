"""What the README shows works as it stands there."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from itertools import count
from pathlib import Path

import psycopg
import pytest

from publisher.settings import Settings
from registry.events import ACTIONS
from tests.support.commandline import command_line
from tests.support.processes import environment
from tests.support.world import World

DOCS = Path(__file__).parents[3] / "docs"
README = (DOCS.parent / "README.md").read_text()


def test_it_is_read_in_a_few_minutes() -> None:
    assert len(README.splitlines()) <= 150


def block(language: str, containing: str) -> str:
    """The one code block of the README in `language` that contains a text."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text]
    return found


async def test_the_python_example_prints_what_changes(world: World) -> None:
    program = block("python", "client.tail(").replace(
        "connect(nats_url)", f'connect(nats_url, prefix="{world.prefix}")'
    )

    async with world.relay(), asyncio.timeout(30):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-c", program),
            stdout=asyncio.subprocess.PIPE,
            env=environment(NATS_URL=world.nats_url),
        )
        assert process.stdout is not None
        try:
            first_line = asyncio.ensure_future(process.stdout.readline())
            async with await psycopg.AsyncConnection.connect(world.database, autocommit=True) as conn:
                project = await (
                    await conn.execute("SELECT register_project('p', 'git@github.com:a/p.git')")
                ).fetchone()
                assert project is not None
                for number in count():  # its consumer sees what is written after it has subscribed
                    name = f"feat-{number}"
                    values = [project[0], name, f"feat/{number}", f"/srv/{name}"]
                    await conn.execute("SELECT register_worktree(%s, 'feat', %s, %s, %s)", values)
                    if (await asyncio.wait([first_line], timeout=0.1))[0]:
                        break
            line = (await first_line).decode().strip()
            assert re.fullmatch(r"imi\.worktree\.created\.v1 feat-\d+ \[\]", line)
            async with await psycopg.AsyncConnection.connect(world.database, autocommit=True) as conn:
                large = "UPDATE worktrees SET metadata = jsonb_build_object('x', repeat('x', %s))"
                await conn.execute(large, [world.nats.max_payload])
            while not line.startswith("imi.worktree.updated.v1"):
                line = (await process.stdout.readline()).decode().strip()
                assert line
            assert line == "imi.worktree.updated.v1 None []"
        finally:
            process.kill()
            await process.wait()


def test_the_address_of_nats_is_read_from_the_endpoints(tmp_path: Path) -> None:
    endpoints = {"database_url": "postgresql:///x", "nats_url": "nats://t0ken@127.0.0.1:4222", "http_url": "http://x"}
    (command,) = re.findall(r"^\$ export NATS_URL=\$\((.*)\)$", README, re.MULTILINE)
    for indent in (None, 2):
        (tmp_path / "endpoints.json").write_text(json.dumps(endpoints, indent=indent))
        told = subprocess.run(  # noqa: S602  # of the page
            command.replace("~/.imi", str(tmp_path)), shell=True, capture_output=True, text=True, check=True
        )
        assert told.stdout.strip() == endpoints["nats_url"]


def test_the_commands_that_use_a_running_up_run(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cli = command_line(monkeypatch, capsys)
    endpoints = {"database_url": database, "nats_url": "nats://127.0.0.1:1"}
    (tmp_path / "endpoints.json").write_text(json.dumps(endpoints))
    commands = [line for line in re.findall(r"^\$ ./run (.*)$", README, re.MULTILINE) if line.startswith("project ")]
    assert len(commands) == 3
    for command in commands:
        done = cli(*shlex.split(command.replace("~/.imi", str(tmp_path))))
        assert (done.code, done.err) == (0, ""), command
    assert "flume" in done.out


async def test_the_envelope_shown_has_the_attributes_of_a_real_one(world: World) -> None:
    shown = json.loads(block("json", "specversion"))

    async with world.relay():
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute("SELECT register_project('p', 'git@github.com:a/p.git')")
            conn.execute(
                "SELECT mark_worktree_merged("
                "register_worktree(id, 'feat', 'feat-x', 'feat/x', '/srv/x'), 'ada', 'abc1234') FROM projects"
            )
        await world.drained()

    real = (await world.published())[-1].envelope
    assert real["type"] == shown["type"]
    assert real.keys() == shown.keys()
    assert real["data"].keys() >= shown["data"].keys() - {"…"}
    assert real["data"]["changed"].keys() >= shown["data"]["changed"].keys()


def test_the_tables_list_every_event_and_setting() -> None:
    contract = (DOCS / "contract.md").read_text()
    for entity in ACTIONS:
        assert f"| {entity} | {', '.join(ACTIONS[entity])} |" in contract
    settings = (DOCS / "settings.md").read_text()
    for name in Settings.model_fields:
        assert f"IMI_{name.upper()}`" in settings, name
