"""What people call a project or a worktree, and which one they mean."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar
from uuid import UUID

from publisher.checkouts import git
from publisher.checkouts.origins import on_github
from publisher.cli.arguments.folders import absolute
from publisher.outbox.on_blocked import ON_BLOCKED
from registry.arguments import ids_with_prefix
from registry.errors import Conflict, NotFound
from registry.models import Project, Worktree
from registry.urls import redacted

if TYPE_CHECKING:
    from registry.database import Registry

OWNER_AND_REPO = re.compile(r"[^/:@\s]+/[^/:@\s]+")
FoundT = TypeVar("FoundT", Project, Worktree)


async def project(registry: Registry, reference: str) -> Project:
    """The project with this name, origin (also as `owner/repo`) or (beginning of an) id, or checked out in this folder.

    Raises `NotFound`, with what was perhaps meant, or `Conflict` when it could be several.
    """
    if is_path(reference):
        origin = git.origin(folders(reference)[0])
        of_origin = await registry.project_of_origin(origin) if origin else None
        if of_origin is None:
            raise NotFound(f'"{reference}" is no checkout of a registered project')
        return of_origin
    found = await registry.find_projects(reference)
    if not found and (of_origin := await registry.project_of_origin(whole_origin(reference))) is not None:
        return of_origin
    if not found:
        matches = await registry.search_projects(reference) if reference.strip() else []
        similar = [match.name for match in matches]
        raise NotFound(f'no project "{named(reference)}"{did_you_mean(similar[:3])}')
    return only_project(reference, found)


def whole_origin(reference: str) -> str:
    """An origin, whatever ssh calls GitHub here; of `owner/repo`, as lists show it, the whole of it."""
    return f"git@github.com:{reference}.git" if OWNER_AND_REPO.fullmatch(reference) else on_github(reference)


async def worktree(registry: Registry, reference: str) -> Worktree:
    """The worktree with this path (or a folder in it), name, `name@project` or (beginning of an) id.

    Raises `NotFound`, with what was perhaps meant, or `Conflict` when it could be several.
    """
    if is_path(reference):
        return await _at(registry, reference)
    name, _, project_reference = reference.partition("@")  # the first: an origin has one too
    whole = await registry.find_worktrees(reference) if project_reference else []
    if whole:  # name@host
        return only_worktree(reference, whole)
    if project_reference:
        inside = await project(registry, project_reference)
        candidates = await registry.list_worktrees(project_id=inside.id, include_inactive=True)
        found = called(candidates, name)
    else:
        found = await registry.find_worktrees(reference)
        candidates = [] if found else await registry.list_worktrees()
    if not found:
        similar = get_close_matches(name, {candidate.name for candidate in candidates})
        raise NotFound(f'no worktree "{reference}"{did_you_mean(similar)}')
    return only_worktree(reference, found)


async def history_id(database_url: str, entity: Literal["project", "worktree"], reference: str) -> UUID:
    """The id that a history is asked for by: a whole id as it is, since what it names may be deleted by now."""
    from registry.database import Registry

    with suppress(ValueError):
        return UUID(reference)
    async with Registry.connect(database_url, max_connections=1, on_blocked=ON_BLOCKED.get()) as registry:
        if entity == "project":
            return (await project(registry, reference)).id
        return (await worktree(registry, reference)).id


def named(reference: str) -> str:
    """A reference for a message: a URL without its credentials."""
    return redacted(reference) if "://" in reference else reference


def called(rows: Sequence[FoundT], reference: str) -> list[FoundT]:
    """Those of `rows` with this name, or an id that begins so."""
    first, last = ids_with_prefix(reference)
    return [
        row
        for row in rows
        if row.name == reference or (first is not None and last is not None and first <= row.id <= last)
    ]


def is_path(reference: str) -> bool:
    """Whether a folder is meant."""
    return reference.startswith(("/", ".", "~"))


async def _at(registry: Registry, path: str) -> Worktree:
    """The active worktree that `path` is in, else an inactive one that was there."""
    around = folders(path)
    for folder in around:
        located = await registry.get_worktree_by_path(str(folder))
        if located is None:
            continue
        active = await registry.get_worktree(located.id)
        if active is not None:
            return active
    former = await registry.find_worktrees(str(around[0]))
    if not former:
        raise NotFound(f'"{path}" is in no registered worktree; run: imi-registry worktree register "{path}"')
    return former[0]


def folders(path: str) -> list[Path]:
    """`path` and the folders it is in, as it is spelled and with links resolved, innermost first."""
    spelled = absolute(Path(path))
    resolved = Path(os.path.realpath(spelled))
    return [Path(os.path.normpath(spelled)), resolved, *spelled.parents, *resolved.parents]


def only_project(reference: str, found: Sequence[Project]) -> Project:
    """The one of `found` that is meant. Raises `Conflict` when it could be several."""
    return _only(reference, found, [f"{project.remote_origin} ({str(project.id)[:8]})" for project in found])


def only_worktree(reference: str, found: Sequence[Worktree]) -> Worktree:
    """The one of `found` that is meant. Raises `Conflict` when it could be several."""
    return _only(reference, found, [f"{one.name}@{one.project_name} ({str(one.id)[:8]})" for one in found])


def _only(reference: str, found: Sequence[FoundT], descriptions: Sequence[str]) -> FoundT:
    """What is meant of several: a whole name or id before the beginning of an id, then active before inactive."""
    exact = [row for row in found if reference in (row.name, str(row.id))]
    likely = exact or list(found)
    active = [row for row in likely if row.active]
    candidates = active or likely
    if len(candidates) == 1:
        return candidates[0]
    raise Conflict(f'"{reference}" could be {", ".join(descriptions)}; give its id')


def did_you_mean(names: Sequence[str]) -> str:
    """The end of a message about a name that is not there."""
    if not names:
        return ""
    quoted = " or ".join(f'"{name}"' for name in names)
    return f"; did you mean {quoted}?"
