"""Projects and worktrees that come and go, by the functions of the registry where it has one.

A place is a project's name and origin: which project has it, one after the other, the row says, too. The worktrees of a
project are of its row. What ends something changes no text, so its transaction first changes one, and by that the event
is known.
"""

from __future__ import annotations

import random
from typing import Any, LiteralString, NamedTuple
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from tests.faults.suite.changes.numbered import change, new_entry, note_acts
from tests.faults.suite.entries import MARK, Entry, entry_in, origin_of

LIVES = [f"g{number}" for number in range(20)]
"""Projects that come and go: there are never more."""
MOST_MADE, MOST_MERGED = 3, 6
"""Worktrees of one project: as they are made, and after a merge."""

LOCK = "SELECT FROM entry_number WHERE row = ANY(%s) ORDER BY row FOR UPDATE"
CHANGE_WORKTREE = "UPDATE worktrees SET last_commit_message = %s WHERE id = %s"
PROJECT = "SELECT id, active, metadata ->> 'entry' FROM projects WHERE name = %s"
WORKTREES = "SELECT id, active FROM worktrees WHERE project_id = %s ORDER BY id"
REGISTER = "SELECT register_project(%s, %s, 'main', NULL, %s)"
REGISTER_WORKTREE = "SELECT register_worktree(%s, 'feat', %s, %s, %s, NULL, %s)"
DELETE = "DELETE FROM projects WHERE id = %s"
DEACTIVATE = "SELECT deactivate_project(%s)"
REACTIVATE = "SELECT register_project(name, remote_origin) FROM projects WHERE id = %s"
MERGE = "SELECT merge_projects(%s, %s)"
CAN_MERGE = "SELECT to_regprocedure('merge_projects(uuid, uuid)') IS NOT NULL"
"""Old schemas cannot: tests/faults/upgrade."""
REACTIVATE_WORKTREE = """
SELECT register_worktree(project_id, 'feat', name, branch_name, path) FROM worktrees WHERE id = %s
"""
OF_ACTIVE_WORKTREES: dict[str, LiteralString] = {
    "merged": f"SELECT mark_worktree_merged(%s, 'writer', '{'0' * 40}')",
    "removed": "UPDATE worktrees SET active = false WHERE id = %s",
    "deleted": "DELETE FROM worktrees WHERE id = %s",
}
OF_INACTIVE_WORKTREES: dict[str, LiteralString] = {
    "reactivated": REACTIVATE_WORKTREE,
    "deleted": OF_ACTIVE_WORKTREES["deleted"],
}


class Thing(NamedTuple):
    """A project or a worktree."""

    id: UUID
    is_active: bool
    beginning: str = ""
    """The text that a project was made with."""

    @property
    def row(self) -> str:
        """A project's."""
        entry = entry_in(self.beginning)
        assert entry is not None
        return entry.row


async def step(conn: AsyncConnection, rng: random.Random) -> list[Entry]:
    """Do something to a project that comes and goes, or to a worktree in it, within the open transaction."""
    places = rng.sample(LIVES, 2)
    await conn.execute(LOCK, [places])
    project, other = [await _project(conn, place) for place in places]
    if project is None:
        return await _begin(conn, places[0], rng)
    row, worktrees = project.row, await _things(conn, WORKTREES, project.id)
    drawn = rng.random()
    if drawn < 0.15:
        return await _delete(conn, row, project, worktrees)
    if drawn < 0.3 and other is not None and other.is_active:
        others = await _things(conn, WORKTREES, other.id)
        if len(worktrees + others) <= MOST_MERGED and await _can_merge(conn):
            return await _merge(conn, project, other, worktrees)
    if drawn < 0.45 or not project.is_active:
        return await _deactivate_or_not(conn, row, project, [one for one in worktrees if one.is_active])
    if drawn < 0.55:
        return [await change(conn, row)]
    if (len(worktrees) < MOST_MADE and rng.random() < 0.5) or not worktrees:
        return [await _begin_worktree(conn, row, project.id)]
    return await _change_worktree(conn, row, rng.choice(worktrees), rng)


async def _begin(conn: AsyncConnection, place: str, rng: random.Random) -> list[Entry]:
    row = f"{place}/{uuid4().hex[:8]}"
    entry = await new_entry(conn, row)
    (project,) = await (await conn.execute(REGISTER, [place, origin_of(place), _metadata(entry)])).fetchone() or ()
    return [entry, *[await _begin_worktree(conn, row, project) for _ in range(rng.randint(0, MOST_MADE))]]


async def _begin_worktree(conn: AsyncConnection, row: str, project: UUID) -> Entry:
    entry = await new_entry(conn, row)
    name = f"{entry.place}-{entry.token}"
    await conn.execute(REGISTER_WORKTREE, [project, name, f"feat/{name}", f"/w/{name}", _metadata(entry)])
    return entry


async def _delete(conn: AsyncConnection, row: str, project: Thing, worktrees: list[Thing]) -> list[Entry]:
    marks = [await change(conn, row, CHANGE_WORKTREE, one.id) for one in worktrees]
    mark = await change(conn, row)
    await conn.execute(DELETE, [project.id])
    gone = await note_acts(conn, row, "deleted", [mark])
    return [*marks, mark, *gone, *await note_acts(conn, row, "deleted", marks)]


async def _deactivate_or_not(conn: AsyncConnection, row: str, project: Thing, worktrees: list[Thing]) -> list[Entry]:
    marks = [await change(conn, row, CHANGE_WORKTREE, one.id) for one in worktrees]
    mark = await change(conn, row)
    if not project.is_active:
        await conn.execute(REACTIVATE, [project.id])
        return [mark, *await note_acts(conn, row, "reactivated", [mark])]
    await conn.execute(DEACTIVATE, [project.id])
    gone = await note_acts(conn, row, "removed", marks)
    return [*marks, mark, *gone, *await note_acts(conn, row, "deactivated", [mark])]


async def _merge(conn: AsyncConnection, loser: Thing, winner: Thing, worktrees: list[Thing]) -> list[Entry]:
    """Merge one into the other, in whose row its worktrees go on."""
    marks = [await change(conn, loser.row, CHANGE_WORKTREE, one.id) for one in worktrees]
    last, mark = await change(conn, loser.row), await change(conn, winner.row)
    await conn.execute(MERGE, [loser.id, winner.id])
    merged = await note_acts(conn, winner.row, "merged", [mark])
    moved = await note_acts(conn, winner.row, "moved", marks)
    return [*marks, last, mark, *merged, *moved, *await note_acts(conn, loser.row, "deleted", [last])]


async def _change_worktree(conn: AsyncConnection, row: str, worktree: Thing, rng: random.Random) -> list[Entry]:
    """Change it; two times of three this is how it ends, or begins again."""
    mark = await change(conn, row, CHANGE_WORKTREE, worktree.id)
    if rng.random() < 1 / 3:
        return [mark]
    action, statement = rng.choice([*(OF_ACTIVE_WORKTREES if worktree.is_active else OF_INACTIVE_WORKTREES).items()])
    await conn.execute(statement, [worktree.id])
    return [mark, *await note_acts(conn, row, action, [mark])]


async def _project(conn: AsyncConnection, place: str) -> Thing | None:
    return next(iter(await _things(conn, PROJECT, place)), None)


async def _things(conn: AsyncConnection, query: LiteralString, key: Any) -> list[Thing]:
    return [Thing(*found) for found in await (await conn.execute(query, [key])).fetchall()]


async def _can_merge(conn: AsyncConnection) -> bool:
    return await (await conn.execute(CAN_MERGE)).fetchone() == (True,)


def _metadata(entry: Entry) -> Jsonb:
    return Jsonb({MARK: entry.text})
