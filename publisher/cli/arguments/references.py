"""What people call a project or a worktree, and which one they mean."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar
from uuid import UUID

from publisher.checkouts import git
from registry.database import Registry
from registry.errors import Invalid, NotFound
from registry.models import Project, Worktree
from registry.urls import redacted

if TYPE_CHECKING:
    from registry.client import RegistryClient

FoundT = TypeVar("FoundT", Project, Worktree)


async def project(registry: Registry, reference: str) -> Project:
    """The project with this name, origin or (beginning of an) id, or the one checked out in this folder.

    Raises `NotFound`, with what was perhaps meant, or `Invalid` when it could be several.
    """
    if _is_path(reference):
        origin = git.origin(_folders(reference)[0])
        of_origin = await registry.project_of_origin(origin) if origin else None
        if of_origin is None:
            raise NotFound(f'"{reference}" is no checkout of a registered project')
        return of_origin
    found = await registry.find_projects(reference)
    if not found and (renamed := await registry.project_of_origin(reference)) is not None:
        return renamed
    if not found:
        matches = await registry.search_projects(reference) if reference.strip() else []
        similar = [match.name for match in matches]
        raise NotFound(f'no project "{_named(reference)}"{_did_you_mean(similar[:3])}')
    return _only(reference, found, [f"{project.remote_origin} ({str(project.id)[:8]})" for project in found])


async def worktree(registry: Registry, reference: str) -> Worktree:
    """The worktree with this path (or a folder in it), name, `name@project` or (beginning of an) id.

    Raises `NotFound`, with what was perhaps meant, or `Invalid` when it could be several.
    """
    if _is_path(reference):
        return await _at(registry, reference)
    name, _, project_reference = reference.partition("@")  # the first: an origin has one too
    if project_reference:
        inside = await project(registry, project_reference)
        candidates = await registry.list_worktrees(project_id=inside.id, include_inactive=True)
        found = [candidate for candidate in candidates if candidate.name == name]
    else:
        found = await registry.find_worktrees(reference)
        candidates = [] if found else await registry.list_worktrees()
    if not found:
        similar = get_close_matches(name, {candidate.name for candidate in candidates})
        raise NotFound(f'no worktree "{reference}"{_did_you_mean(similar)}')
    return _only(
        reference, found, [f"{worktree.name}@{worktree.project_name} ({str(worktree.id)[:8]})" for worktree in found]
    )


async def history_id(database_url: str, entity: Literal["project", "worktree"], reference: str) -> UUID:
    """The id that a history is asked for by: a whole id as it is, since what it names may be deleted by now."""
    try:
        return UUID(reference)
    except ValueError:
        pass
    async with Registry.connect(database_url, max_connections=1) as registry:
        if entity == "project":
            return (await project(registry, reference)).id
        return (await worktree(registry, reference)).id


async def project_id_over_nats(client: RegistryClient, reference: str) -> UUID:
    """The id of a project, asked for over NATS: a whole id as it is, the rest as `project` has it.

    Raises as `project` does, and `Unavailable` when no publisher answers.
    """
    try:
        return UUID(reference)
    except ValueError:
        pass
    if _is_path(reference):
        origin = git.origin(_folders(reference)[0])
        if origin is None:
            raise NotFound(f'"{reference}" is no checkout of a registered project')
        return (await client.queries.project_by_origin(origin)).id
    if "/" in reference:
        return (await client.queries.project_by_origin(reference)).id
    projects: list[Project] = []
    page = await client.queries.projects(include_inactive=True)
    projects += page.projects
    while page.next is not None:
        page = await client.queries.projects(include_inactive=True, after=page.next)
        projects += page.projects
    found = [project for project in projects if project.name == reference or _begins_with(project, reference)]
    if not found:
        similar = get_close_matches(reference, {project.name for project in projects})
        raise NotFound(f'no project "{_named(reference)}"{_did_you_mean(similar)}')
    return _only(reference, found, [f"{project.remote_origin} ({str(project.id)[:8]})" for project in found]).id


def _named(reference: str) -> str:
    """A reference for a message: a URL without its credentials."""
    return redacted(reference) if "://" in reference else reference


def _begins_with(project: Project, reference: str) -> bool:
    return reference != "" and str(project.id).startswith(reference.lower())


def _is_path(reference: str) -> bool:
    return reference.startswith(("/", ".", "~"))


async def _at(registry: Registry, path: str) -> Worktree:
    """The active worktree that `path` is in, else an inactive one that was there."""
    folders = _folders(path)
    for folder in folders:
        located = await registry.get_worktree_by_path(str(folder))
        if located is None:
            continue
        active = await registry.get_worktree(located.id)
        if active is not None:
            return active
    former = await registry.find_worktrees(str(folders[0]))
    if not former:
        raise NotFound(f'"{path}" is in no registered worktree; run: imi-registry worktree register "{path}"')
    return former[0]


def _folders(path: str) -> list[Path]:
    """`path` and the folders it is in, as it is spelled and with links resolved, innermost first."""
    spelled = Path(path).expanduser().absolute()
    resolved = spelled.resolve()
    return [Path(os.path.normpath(spelled)), resolved, *spelled.parents, *resolved.parents]


def _only(reference: str, found: Sequence[FoundT], descriptions: Sequence[str]) -> FoundT:
    """What is meant of several: a whole name or id before the beginning of an id, then active before inactive."""
    exact = [row for row in found if reference in (row.name, str(row.id))]
    likely = exact or list(found)
    active = [row for row in likely if row.active]
    candidates = active or likely
    if len(candidates) == 1:
        return candidates[0]
    raise Invalid(f'"{reference}" could be {", ".join(descriptions)}; give its id')


def _did_you_mean(names: Sequence[str]) -> str:
    if not names:
        return ""
    quoted = " or ".join(f'"{name}"' for name in names)
    return f"; did you mean {quoted}?"
