"""What docs/quick-start.md and docs/install.md show works as it stands there."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from publisher.settings import FILE_VARIABLE, load
from tests.support.git.repositories import checkout, linked
from tests.support.processes import COMMAND, environment
from tests.support.world import World

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "quick-start.md").read_text()
ENDLESS = ("demo", "up ", "events tail ")


def block(language: str, containing: str) -> str:
    """The one code block of the page in `language` that contains a text."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if containing in text]
    return found


@pytest.fixture
def home(world: World, tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has a project with a worktree in `~/code`, and whose `up` is in `~/.imi`."""
    main = checkout(tmp_path / "code" / "engine" / "trunk-main", "git@github.com:ada/engine.git")
    linked(main, tmp_path / "code" / "engine" / "feat-search", "feat/search")
    urls = {"database_url": world.database, "nats_url": world.nats_url, "http_url": "http://127.0.0.1:1"}
    (tmp_path / ".imi").mkdir()
    (tmp_path / ".imi" / "endpoints.json").write_text(json.dumps(urls))
    return environment(HOME=str(tmp_path), IMI_PREFIX=world.prefix, IMI_STATE_DIR=str(tmp_path / ".imi"))


async def run(command: list[str], variables: dict[str, str]) -> str:
    """What a command prints; it must end well."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=variables)
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    assert process.returncode == 0, (command, errors.decode())
    return out.decode()


async def test_the_commands_of_the_quick_start_run(world: World, home: dict[str, str]) -> None:
    commands = re.findall(r"^\$ imi-registry (.*)$", PAGE, re.MULTILINE)
    ending = [command for command in commands if not command.startswith(ENDLESS)]
    assert len(ending) >= 6
    shown = {}
    with world.process() as service:
        await service.ready()
        for command in ending:
            words = [f"{home['HOME']}{word[1:]}" if word.startswith("~") else word for word in shlex.split(command)]
            shown[words[0]] = await run([*COMMAND, *words], home)
            await world.drained()

    assert "worktree.claimed" in shown["events"]
    assert "ada" in shown["history"]


async def test_the_program_of_the_quick_start_prints_what_happens(world: World, home: dict[str, str]) -> None:
    program = block("python", "client.tail(")
    program = program.replace('endpoints["nats_url"],', f'endpoints["nats_url"], prefix="{world.prefix}",')
    async with world.relay(), world.applier(), asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-u", "-c", program, stdout=asyncio.subprocess.PIPE, env=home
        )
        try:
            assert process.stdout is not None
            line = asyncio.ensure_future(process.stdout.readline())
            number = 0
            while not (await asyncio.wait([line], timeout=0.1))[0]:  # it sees what is written after it has subscribed
                number += 1
                world.rows("SELECT register_project(%s, %s)", f"p-{number}", f"git@github.com:a/p-{number}.git")
            assert (await line).decode() == "project.registered None\n"
        finally:
            process.kill()
            await process.wait()


async def test_the_command_example_registers_a_project(world: World, home: dict[str, str]) -> None:
    program = block("python", "register_project")
    program = program.replace('endpoints["nats_url"])', f'endpoints["nats_url"], prefix="{world.prefix}")')

    with world.process() as service:
        await service.ready()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-u", "-c", program, stdout=asyncio.subprocess.PIPE, env=home
        )
        async with asyncio.timeout(120):
            printed, _ = await process.communicate()

    assert printed.decode().strip() == "git@github.com:33god/flume.git"


async def test_the_sql_examples_run(world: World) -> None:  # type: ignore[no-untyped-def]
    session = block("sql", "register_project").splitlines()
    assert len(session) == 2

    async with world.relay():
        with psycopg.connect(world.database, autocommit=True) as conn:
            for statement in session:
                conn.execute(statement)
            project = conn.execute("SELECT id::text FROM projects").fetchone()
            assert project is not None
            conn.execute(block("sql", "set_config").replace("0f6ef0f1-6f0b-4b4e-9d60-3a0c4f0b8f11", project[0]))
        await world.drained()

    events = [message.envelope for message in await world.published()]
    assert [event["type"] for event in events] == [
        "imi.project.registered.v1",
        "imi.project.updated.v1",
        "imi.project.deactivated.v1",
    ]
    assert events[2]["actor"] == "agent-1"
    assert UUID(events[2]["correlationid"])


def test_the_settings_file_shown_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", (DOCS / "install.md").read_text(), re.DOTALL)
    file = tmp_path / "imi-registry.toml"
    file.write_text(shown)
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    settings = load()
    given = tomllib.loads(shown)
    assert len(given) == 4
    for name, value in given.items():
        found = getattr(settings, name)
        assert (str(found) if isinstance(found, Path) else found) == value
