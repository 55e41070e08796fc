"""What people call a project or a worktree, asked of a publisher: for the commands that need no database."""

from __future__ import annotations

from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING
from uuid import UUID

from publisher.checkouts import git
from publisher.cli.arguments.references import (
    called,
    did_you_mean,
    folders,
    is_path,
    named,
    only_project,
    only_worktree,
    whole_origin,
)
from registry.errors import NotFound
from registry.models import Project, Worktree

if TYPE_CHECKING:
    from registry.client import RegistryClient


async def project_id(client: RegistryClient, reference: str) -> UUID:
    """The id of a project: a whole id as it is, since what it names may be deleted; the rest as `references` has it.

    Raises as `references.project` does, and `Unavailable` when no publisher answers.
    """
    with suppress(ValueError):
        return UUID(reference)
    if is_path(reference):
        origin = git.origin(folders(reference)[0])
        if origin is None:
            raise NotFound(f'"{reference}" is no checkout of a registered project')
        return (await client.queries.project_by_origin(origin)).id
    if "/" in reference:
        with suppress(NotFound):
            return (await client.queries.project_by_origin(whole_origin(reference))).id
    projects = await _projects(client)
    found = called(projects, reference)
    if not found:
        similar = get_close_matches(reference, {project.name for project in projects})
        raise NotFound(f'no project "{named(reference)}"{did_you_mean(similar)}')
    return only_project(reference, found).id


async def worktree_id(client: RegistryClient, reference: str) -> UUID:
    """The id of a worktree, as `project_id` finds that of a project.

    Raises as `references.worktree` does, and `Unavailable` when no publisher answers.
    """
    with suppress(ValueError):
        return UUID(reference)
    if is_path(reference):
        return await _worktree_at(client, reference)
    name, _, project_reference = reference.partition("@")  # the first: an origin has one too
    worktrees: list[Worktree] = list((await client.snapshot()).worktrees.values())
    found = called(worktrees, reference)
    if project_reference and not found:
        inside = await project_id(client, project_reference)
        worktrees = [worktree for worktree in worktrees if worktree.project_id == inside]
        found = called(worktrees, name)
    if not found:
        similar = get_close_matches(name, {worktree.name for worktree in worktrees if worktree.active})
        raise NotFound(f'no worktree "{reference}"{did_you_mean(similar)}')
    return only_worktree(reference, found).id


async def _worktree_at(client: RegistryClient, path: str) -> UUID:
    """The active worktree that `path` is in, else an inactive one that was there."""
    around = folders(path)
    for folder in around:
        with suppress(NotFound):
            return (await client.queries.worktree_by_path(str(folder))).id
    former = [one for one in (await client.snapshot()).worktrees.values() if one.path == str(around[0])]
    if not former:
        raise NotFound(f'"{path}" is in no registered worktree')
    return max(former, key=lambda one: one.updated_at).id


async def _projects(client: RegistryClient) -> list[Project]:
    page = await client.queries.projects(include_inactive=True)
    projects = page.projects
    while page.next is not None:
        page = await client.queries.projects(include_inactive=True, after=page.next)
        projects += page.projects
    return projects
