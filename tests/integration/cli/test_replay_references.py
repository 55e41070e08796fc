"""Commands that work over NATS alone know a project and a worktree by the names that tables print, too."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.integration.cli.test_commands import command_line
from tests.support.world import World


@asynccontextmanager
async def served(world: World) -> AsyncIterator[None]:
    """What answers over NATS."""
    async with world.relay(), world.history(), world.queries():
        yield


def ids(world: World) -> dict[str, tuple[str, str]]:
    """Project and worktree id, by the name of the project."""
    return {
        name: (str(project), str(worktree))
        for name, project, worktree in world.rows(
            "SELECT p.name, p.id, w.id FROM projects p JOIN worktrees w ON w.project_id = p.id"
        )
    }


@pytest.fixture
def things(world: World, tmp_path: Path) -> dict[str, tuple[str, str]]:
    """Two projects with a worktree each of the same name, the first one's in a folder that is there."""
    with psycopg.connect(world.database) as conn:
        for name, path in (("engine", str(tmp_path)), ("motor", "/x/motor")):
            conn.execute(
                "SELECT register_worktree(register_project(%s, %s), 'feat', 'feat-x', 'feat/x', %s, 'ada')",
                [name, f"git@github.com:ada/{name}.git", path],
            )
        conn.execute("UPDATE worktrees SET name = 'feat-y' WHERE path = '/x/motor'")
    return ids(world)


async def test_a_replay_takes_a_worktree_in_every_form(
    world: World, things: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    project, worktree = things["engine"]
    (tmp_path / "src").mkdir()
    forms = [worktree, worktree.upper(), worktree[:8], "feat-x"]
    forms += [f"feat-x@{one}" for one in ("engine", project[:8], "ada/engine")]
    async with served(world):
        await world.drained()
        for form in [*forms, str(tmp_path), f"{tmp_path}/src"]:
            done = await command_line(world, "events", "replay", "--worktree", form, "--json")
            assert done.returncode == 0, (form, done.stderr)
            told = [json.loads(line) for line in done.stdout.splitlines()]
            assert {event["data"]["worktree_id"] for event in told} == {worktree}, form
        for form in (project, project[:8], "engine", "ada/engine", "Ada/Engine", "https://github.com/ada/engine"):
            done = await command_line(world, "events", "replay", "--project", form, "--json")
            told = [json.loads(line) for line in done.stdout.splitlines()]
            assert {event["partitionkey"] for event in told} == {project}, form


async def test_a_replay_names_what_is_not_there_or_could_be_several(
    world: World, things: dict[str, tuple[str, str]]
) -> None:
    with psycopg.connect(world.database) as conn:
        conn.execute("UPDATE worktrees SET name = 'feat-x'")
        conn.execute("UPDATE projects SET name = 'engine'")
    cases = [
        ("--worktree", "feat-x", "could be feat-x@engine ("),
        ("--worktree", "feat-z", 'no worktree "feat-z"; did you mean "feat-x"?'),
        ("--worktree", "", 'no worktree ""'),
        ("--worktree", "/nowhere", '"/nowhere" is in no registered worktree'),
        ("--worktree", "x@nope", 'no project "nope"'),
        ("--project", "engine", "could be git@github.com:ada/"),
        ("--project", "engin", 'no project "engin"; did you mean "engine"?'),
        ("--project", " ", 'no project " "'),
        ("--project", "ada/other", 'no project "ada/other"'),
        ("--worktree", "feat-x@ada/other", 'no project "ada/other"'),
    ]
    async with served(world):
        await world.drained()
        for option, value, message in cases:
            done = await command_line(world, "events", "replay", option, value)
            assert (done.returncode, done.stdout) == (1, ""), (option, value, done)
            assert message in done.stderr
            assert len(done.stderr.splitlines()) == 1
        gone = await command_line(world, "events", "replay", "--worktree", str(UUID(int=1)))
        assert (gone.returncode, gone.stderr) == (0, "no event matches\n")
