"""Some history, and what must be the same wherever it is told from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from publisher.history import archive
from publisher.outbox.connection import connect
from registry.history.pages import Replayed

if TYPE_CHECKING:
    from tests.support.world import World


def write(database: str, projects: int = 2, worktrees: int = 2, renames: int = 3) -> list[str]:
    """Some history of a few projects. Returns their ids."""
    with psycopg.connect(database, autocommit=True) as conn:
        ids = []
        for number in range(projects):
            origin = f"git@github.com:replay/{uuid4().hex}.git"
            (project,) = conn.execute("SELECT register_project(%s, %s)", [f"p{number}", origin]).fetchone() or ("",)
            ids.append(str(project))
            for worktree in range(worktrees):
                name = f"w{worktree}"
                query = "SELECT register_worktree(%s, 'feat', %s, %s, %s, %s)"
                conn.execute(query, [project, name, f"feat/{name}", f"/r/{project}/{name}", f"agent-{worktree}"])
        for number in range(renames):
            conn.execute("UPDATE projects SET description = %s", [f"number {number}"])
    return ids


def row(events: list[Replayed]) -> list[tuple[int, str, bytes]]:
    """What must be the same wherever an event comes from."""
    return [(event.sequence, event.subject, event.payload) for event in events]


async def export(world: World, file: Path) -> int:
    """Export the history of `world`; returns the number of events."""
    async with connect(world.database, "test") as conn:
        with archive.writing(file) as to:
            return await archive.export_history(conn, world.settings(), to)


async def import_(world: World, file: Path) -> int:
    """Import it into the empty `world`; returns the number of events."""
    async with connect(world.database, "test") as conn:
        with archive.reading(file) as lines:
            return await archive.import_history(conn, world.settings(), lines)


async def write_disorderly(world: World) -> None:
    """The first transaction to take ids commits when the others are published: its events come last."""
    async with await psycopg.AsyncConnection.connect(world.database) as late:
        await late.execute(
            "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('late','l/','l-')"
        )
        await asyncio.to_thread(write, world.database)
        async with asyncio.timeout(10), await psycopg.AsyncConnection.connect(world.database, autocommit=True) as conn:
            query = "SELECT count(*) FROM outbox WHERE NOT EXISTS (SELECT FROM publisher_cursor WHERE published @> id)"
            while (await (await conn.execute(query)).fetchone()) != (0,):
                await asyncio.sleep(0.01)  # the cursor tells nobody when it moves
    await asyncio.to_thread(write, world.database, 1)
    await world.drained()
