"""Projects and worktrees as the tables have them now, each value in so many characters at most."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from publisher.web.console.sources.database import Database
from registry.errors import NotFound

PAGE_ROWS = 50
MOST_WORKTREES = 200
MOST_ACTIVITIES = 50
MOST_FORMER_IDS = 50

PROJECT_COLUMNS = """
    p.id,
    left(p.name, 300) AS name,
    left(p.remote_origin, 500) AS remote_origin,
    left(p.default_branch, 300) AS default_branch,
    left(p.trunk_path, 2000) AS trunk_path,
    left(p.description, 4000) AS description,
    CASE WHEN pg_column_size(p.metadata) <= 16384 THEN p.metadata::text END AS metadata,
    p.active,
    p.created_at,
    p.updated_at
"""

COUNTS = """
LEFT JOIN LATERAL (
    SELECT
        count(*) AS worktrees,
        count(*) FILTER (
            WHERE public.is_in_flight(
                w.active, w.merged_at, w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk
            )
        ) AS in_flight
    FROM public.worktrees AS w
    WHERE w.project_id = p.id AND w.active
) AS counted ON true
"""

PROJECTS = f"""
SELECT {PROJECT_COLUMNS}, counted.worktrees, counted.in_flight
FROM (
    SELECT *
    FROM public.projects
    WHERE active AND (name, id) > (%(name)s, %(id)s::uuid)
    ORDER BY name, id
    LIMIT {PAGE_ROWS + 1}
) AS p
{COUNTS}
ORDER BY p.name, p.id
"""

PROJECT = f"""
SELECT {PROJECT_COLUMNS}, counted.worktrees, counted.in_flight
FROM public.projects AS p
{COUNTS}
WHERE p.id = public.current_project_id(%(id)s::uuid)
"""

WORKTREE_COLUMNS = """
    w.id,
    w.project_id,
    left(p.name, 300) AS project_name,
    left(w.name, 300) AS name,
    left(t.name, 100) AS type_name,
    left(w.branch_name, 300) AS branch_name,
    left(w.path, 4000) AS path,
    left(w.agent_id, 512) AS agent_id,
    public.worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk) AS status,
    w.uncommitted_files_count AS uncommitted,
    w.ahead_of_trunk AS ahead,
    w.behind_trunk AS behind,
    left(w.last_commit_hash, 100) AS last_commit_hash,
    left(w.last_commit_message, 2000) AS last_commit_message,
    w.last_sync_at,
    w.merged_at,
    left(w.merged_by, 300) AS merged_by,
    CASE WHEN pg_column_size(w.metadata) <= 16384 THEN w.metadata::text END AS metadata,
    w.active,
    w.created_at,
    w.updated_at,
    coalesce(h.name, left(w.host_id::text, 8)) AS host
"""

WORKTREE_TABLES = """
FROM public.worktrees AS w
JOIN public.projects AS p ON p.id = w.project_id
JOIN public.worktree_types AS t ON t.id = w.type_id
LEFT JOIN public.hosts AS h ON h.id = w.host_id
"""

WORKTREES = f"""
SELECT {WORKTREE_COLUMNS}
{WORKTREE_TABLES}
WHERE w.project_id = %(id)s::uuid
ORDER BY w.active DESC, w.updated_at DESC, w.id
LIMIT {MOST_WORKTREES}
"""

FORMER_IDS = f"""
SELECT a.id
FROM public.project_aliases AS a
WHERE a.project_id = %(id)s::uuid
ORDER BY a.id
LIMIT {MOST_FORMER_IDS}
"""

OF_ORIGINS = f"""
SELECT id, left(name, 300) AS name, left(remote_origin, 500) AS remote_origin
FROM public.projects
WHERE remote_origin = ANY (%(origins)s::text[])
ORDER BY name, id
LIMIT {PAGE_ROWS}
"""

PLACES = """
SELECT left(host_name, 300) AS host, left(trunk_path, 2000) AS trunk_path, is_home
FROM public.v_project_hosts
WHERE project_id = %(id)s::uuid
ORDER BY is_home DESC, host_name
LIMIT 50
"""

WORKTREE = f"""
SELECT {WORKTREE_COLUMNS}
{WORKTREE_TABLES}
WHERE w.id = %(id)s::uuid
"""

ACTIVITIES = f"""
SELECT
    a.id,
    left(a.agent_id, 512) AS agent_id,
    a.activity_type,
    left(a.description, 1000) AS description,
    left(a.file_path, 1000) AS file_path,
    a.created_at
FROM public.agent_activities AS a
WHERE a.worktree_id = %(id)s::uuid
ORDER BY a.created_at DESC, a.id
LIMIT {MOST_ACTIVITIES}
"""


class Project(NamedTuple):
    """A project."""

    id: UUID
    name: str
    remote_origin: str
    default_branch: str
    trunk_path: str | None
    description: str | None
    metadata: str | None
    """JSON; None when it is too large to be shown."""
    active: bool
    created_at: datetime
    updated_at: datetime
    worktrees: int
    in_flight: int


class Worktree(NamedTuple):
    """A worktree."""

    id: UUID
    project_id: UUID
    project_name: str
    name: str
    type_name: str
    branch_name: str
    path: str
    agent_id: str | None
    status: str
    uncommitted: int
    ahead: int
    behind: int
    last_commit_hash: str | None
    last_commit_message: str | None
    last_sync_at: datetime | None
    merged_at: datetime | None
    merged_by: str | None
    metadata: str | None
    """JSON; None when it is too large to be shown."""
    active: bool
    created_at: datetime
    updated_at: datetime
    host: str


class Place(NamedTuple):
    """Where a project is on a host."""

    host: str
    trunk_path: str
    is_home: bool


class FormerId(NamedTuple):
    """An id that a project had, or that of one that was merged into it."""

    id: UUID


class Named(NamedTuple):
    """Which project it is."""

    id: UUID
    name: str
    remote_origin: str


class Activity(NamedTuple):
    """What an agent did in a worktree."""

    id: UUID
    agent_id: str
    activity_type: str
    description: str
    file_path: str | None
    created_at: datetime


async def projects(database: Database, after: tuple[str, str] | None) -> list[Project]:
    """Active projects by name, behind this name and id; one more than `PAGE_ROWS` where there are further ones."""
    name, id_ = after or ("", "00000000-0000-0000-0000-000000000000")
    return await database.rows(Project, PROJECTS, {"name": name, "id": id_})


async def project(database: Database, id_: str) -> Project:
    """A project, active or not, also by an id it had before. Raises `NotFound`."""
    found = await database.row(Project, PROJECT, {"id": id_})
    if found is None:
        raise NotFound(f"project {id_} is not in the registry (its events may be: see /events?project={id_})")
    return found


async def former_ids(database: Database, project_id: str) -> list[UUID]:
    """Ids that lead to a project as well, `MOST_FORMER_IDS` at most."""
    return [one.id for one in await database.rows(FormerId, FORMER_IDS, {"id": project_id})]


async def of_origins(database: Database, origins: Iterable[str]) -> list[Named]:
    """Which projects have these origins, by name, `PAGE_ROWS` at most."""
    return await database.rows(Named, OF_ORIGINS, {"origins": list(origins)})


async def worktrees(database: Database, project_id: str) -> list[Worktree]:
    """Worktrees of a project, active ones first, those that changed last first."""
    return await database.rows(Worktree, WORKTREES, {"id": project_id})


async def places(database: Database, project_id: str) -> list[Place]:
    """On which hosts a project is, its home first."""
    return await database.rows(Place, PLACES, {"id": project_id})


async def worktree(database: Database, id_: str) -> Worktree:
    """A worktree, active or not. Raises `NotFound`."""
    found = await database.row(Worktree, WORKTREE, {"id": id_})
    if found is None:
        raise NotFound(f"worktree {id_} is not in the registry (its events may be: see /events?worktree={id_})")
    return found


async def activities(database: Database, worktree_id: str) -> list[Activity]:
    """The latest activities in a worktree, newest first."""
    return await database.rows(Activity, ACTIVITIES, {"id": worktree_id})
