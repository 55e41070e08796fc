"""Each command by bytes over NATS: its verdict, its result, and the events that it causes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from tests.support.commands import ORIGIN, PROJECT, envelope
from tests.support.world import World

WORKTREE = {"type_name": "feat", "name": "x", "branch_name": "x", "path": "/srv/x"}

Do = Callable[..., Awaitable[tuple[str, Any]]]


@asynccontextmanager
async def commanding(world: World) -> AsyncIterator[Do]:
    """Sends commands to an applier; gives the verdict of each, and its code or result."""

    async def do(command: str, **data: Any) -> tuple[str, Any]:
        outcome = await world.ask(command, envelope(command, data))
        return outcome["verdict"], outcome["code"] or outcome["result"]

    async with world.applier():
        yield do
        await world.commands_done()


@asynccontextmanager
async def commanding_a_worktree(world: World) -> AsyncIterator[tuple[Do, dict[str, Any]]]:
    """As `commanding`, with what a command names the worktree by, which is also its result; it is at /srv/x."""
    async with commanding(world) as do:
        _, project = await do("project.register", **PROJECT)
        _, result = await do("worktree.register", **project, **WORKTREE)
        yield do, {"worktree_id": result["worktree_id"]}


def changes(world: World) -> list[str]:
    """Names of the events that are no outcome of a command."""
    found = world.rows("SELECT entity || '.' || action FROM outbox WHERE entity <> 'command' ORDER BY id")
    return [name for (name,) in found]


async def test_a_project_is_registered_once_and_updated_once(world: World) -> None:
    async with commanding(world) as do:
        verdict, result = await do("project.register", **PROJECT)
        project = result["project_id"]

        assert (verdict, result) == ("applied", {"project_id": project})
        assert await do("project.register", **PROJECT) == ("idempotent", {"project_id": project})
        assert (await do("project.update", remote_origin="https://github.com/A/P", description="d"))[0] == "applied"
        assert (await do("project.update", project_id=project, description="d"))[0] == "idempotent"
        assert await do("project.register", name="q", remote_origin="nowhere") == ("rejected", "VALIDATION_ERROR")
        assert await do("project.register", name="a\0b", remote_origin=ORIGIN) == ("rejected", "VALIDATION_ERROR")

    assert changes(world) == ["project.registered", "project.updated"]


async def test_a_project_that_is_deactivated_takes_no_worktree(world: World) -> None:
    async with commanding(world) as do:
        _, project = await do("project.register", **PROJECT)

        assert await do("project.deactivate", **project) == ("applied", project)
        assert await do("project.deactivate", **project) == ("idempotent", project)
        assert await do("project.deactivate", project_id=str(uuid4())) == ("rejected", "NOT_FOUND")
        assert await do("worktree.register", **project, **WORKTREE) == ("rejected", "CONFLICT")

    assert changes(world) == ["project.registered", "project.deactivated"]


async def test_a_worktree_is_registered_moved_and_told_its_git_state(world: World) -> None:
    async with commanding(world) as do:
        _, project = await do("project.register", **PROJECT)

        verdict, result = await do("worktree.register", **project, **WORKTREE)
        worktree = result["worktree_id"]
        same = {"worktree_id": worktree}

        assert (verdict, result) == ("applied", project | same)
        assert await do("worktree.update", path="/srv/x", new_path="/srv/y", type_name="fix") == ("applied", same)
        assert await do("worktree.update_git_state", path="/srv/y", ahead=2) == ("applied", same)
        assert await do("worktree.update_git_state", path="/srv/y", ahead=2) == ("idempotent", same)
        assert await do("worktree_type.remove", name="fix") == ("rejected", "CONFLICT")

    assert changes(world) == [
        *("project.registered", "worktree.created", "worktree.updated", "worktree.git_state_updated")
    ]


async def test_a_worktree_is_claimed_and_released_by_one_agent(world: World) -> None:
    async with commanding_a_worktree(world) as (do, same):
        assert await do("worktree.claim", path="/srv/x", agent_id="ada") == ("applied", same)
        assert await do("worktree.claim", **same, agent_id="ada") == ("idempotent", same)
        assert await do("worktree.claim", **same, agent_id="bob") == ("rejected", "CONFLICT")
        assert await do("worktree.claim", path="/nowhere", agent_id="ada") == ("rejected", "NOT_FOUND")
        assert await do("worktree.release", **same, agent_id="bob") == ("rejected", "CONFLICT")
        assert await do("worktree.release", **same, agent_id="ada") == ("applied", same)
        assert await do("worktree.release", **same) == ("idempotent", same)

    assert changes(world) == ["project.registered", "worktree.created", "worktree.claimed", "worktree.released"]


async def test_an_activity_is_logged(world: World) -> None:
    async with commanding_a_worktree(world) as (do, same):
        logged = {"agent_id": "ada", "activity_type": "committed", "description": "d"}
        verdict, result = await do("activity.log", **same, **logged)

    assert (verdict, result.keys()) == ("applied", {"worktree_id", "activity_id"})
    assert changes(world) == ["project.registered", "worktree.created", "activity.logged"]


async def test_a_worktree_is_merged_once_and_then_removed_already(world: World) -> None:
    async with commanding_a_worktree(world) as (do, same):
        merge = {"merged_by": "ada", "merge_commit_hash": "abc"}

        assert await do("worktree.merge", **same, **merge) == ("applied", same)
        assert await do("worktree.merge", **same, **merge) == ("idempotent", same)
        assert await do("worktree.merge", **same, merged_by="bob", merge_commit_hash="d") == ("rejected", "CONFLICT")
        assert await do("worktree.remove", **same) == ("idempotent", same)

    assert changes(world) == ["project.registered", "worktree.created", "worktree.merged"]


async def test_a_worktree_type_is_added_and_removed_unless_it_is_built_in(world: World) -> None:
    async with commanding(world) as do:
        assert (await do("worktree_type.add", name="docs"))[0] == "applied"
        assert (await do("worktree_type.add", name="docs"))[0] == "idempotent"
        assert await do("worktree_type.add", name="docs", branch_prefix="d/") == ("rejected", "CONFLICT")
        assert await do("worktree_type.remove", name="docs") == ("applied", {})
        assert await do("worktree_type.remove", name="docs") == ("rejected", "NOT_FOUND")
        assert await do("worktree_type.remove", name="feat") == ("rejected", "CONFLICT")

    assert changes(world) == ["worktree_type.added", "worktree_type.removed"]
