"""What docs/client.md shows works as it stands there, one snippet after the other."""

from __future__ import annotations

import asyncio
import re
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from registry.client import RegistryClient
from registry.client.commands import CommandClient
from registry.client.queries import QueryClient
from registry.concurrency.tasks import end
from tests.support.processes import environment
from tests.support.world import World

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "client.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def compiled(snippet: str) -> Callable[[RegistryClient], Coroutine[Any, Any, None]]:
    """A snippet as the body of a function that is given `client`."""
    scope: dict[str, Any] = {}
    exec(f"async def snippet(client):\n{textwrap.indent(snippet, '    ')}", scope)  # noqa: S102  # our own page
    function: Callable[[RegistryClient], Coroutine[Any, Any, None]] = scope["snippet"]
    return function


async def test_the_component_in_ten_lines_runs(world: World) -> None:
    program = SNIPPETS[0].replace("nats://127.0.0.1:4222", world.nats_url)
    program = program.replace("connect(nats_url,", f'connect(nats_url, prefix="{world.prefix}",')

    async with world.relay(), world.applier():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-u", "-c", program, stdout=asyncio.subprocess.PIPE, env=environment()
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(30):
                lines = [(await process.stdout.readline()).decode().strip() for _ in range(2)]
        finally:
            process.kill()
            await process.wait()

    ((project,),) = world.rows("SELECT id FROM projects")
    assert lines == [f"project {project}", "project.registered flume"]
    assert len([line for line in SNIPPETS[0].splitlines() if line]) <= 10


async def test_the_other_snippets_run(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    shown = ""

    async with (
        world.relay(),
        world.applier(),
        world.queries(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        asyncio.timeout(60),
    ):
        snippets = [compiled(snippet) for snippet in SNIPPETS[1:]]
        commands, repeated, outcomes, asking, subscription, surviving, dead_letters, tail = snippets
        await client.register_project(name="flume", remote_origin="git@github.com:33god/flume.git")
        async with asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(tail(client)), tasks.create_task(subscription(client))]
            while not watching[0].done():  # both see what happens after they have begun
                await commands(client)
                await asyncio.sleep(0.1)
            while "worktree.merged" not in (shown := shown + capsys.readouterr().out):
                await commands(client)
                await asyncio.sleep(0.1)
            await end(watching)
            with_dead_letters = tasks.create_task(surviving(client))
            while "in order" not in (shown := shown + capsys.readouterr().out):
                await commands(client)
                await asyncio.sleep(0.1)
            await dead_letters(client)
            await end([with_dead_letters])
        await asking(client)
        await repeated(client)
        await outcomes(client)
    shown += capsys.readouterr().out

    assert "worktree.merged" in shown
    assert "ada\n" in shown
    assert "rejected NOT_FOUND" in shown
    assert "worktree feat-login" in shown
    assert world.rows("SELECT merged_by FROM worktrees") == [("ada",)]


def test_the_table_lists_every_call() -> None:
    calls = {name for name, member in vars(CommandClient).items() if not name.startswith("_") and callable(member)}
    calls |= {name for name in vars(QueryClient) if not name.startswith("_")}
    assert {name for name in calls if f"`{name}`" not in PAGE} == set()
