"""Bring the registry up to date with the git checkouts of a folder: register what is new, update what changed.

What people decided stays: a deactivated project, and a worktree that was merged or removed, are left alone as long as
the same branch is checked out; names and types are never changed, and a trunk path only when it is gone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from publisher.checkouts import git, search
from publisher.checkouts.git import Linked, Repository
from registry.database import Registry
from registry.errors import RegistryError, Unavailable
from registry.models import Project, Worktree, WorktreeType

Outcome = Literal["registered", "updated", "unchanged", "skipped", "failed"]

FALLBACK_TYPE = "feat"
GIT_STATE = {
    "has_uncommitted_changes",
    "uncommitted_files_count",
    "ahead_of_trunk",
    "behind_trunk",
    "last_commit_hash",
    "last_commit_message",
}


@dataclass(frozen=True)
class Result:
    """What became of one project (then `path` is its trunk) or worktree; `detail` says why, or what changed."""

    path: str
    kind: Literal["project", "worktree", "folder"]
    outcome: Outcome
    detail: str = ""


class Sync:
    """One pass over the checkouts in a folder."""

    def __init__(self, registry: Registry, types: Sequence[WorktreeType]) -> None:
        self._registry = registry
        self._types = types
        self._seen: set[Path] = set()

    @classmethod
    async def run(
        cls, registry: Registry, root: Path, progress: Callable[[int, int, Path], None] | None = None
    ) -> list[Result]:
        """Sync all checkouts in `root`; `progress` gets how many of how many are done, and the next one.

        One that fails is among the results and stops no other. Raises `Unavailable` when the database is lost.
        """
        one = cls(registry, await registry.list_worktree_types())
        results: list[Result] = []

        def unreadable(error: OSError) -> None:
            results.append(Result(printable(error.filename), "folder", "failed", error.strerror or str(error)))

        folders = await asyncio.to_thread(lambda: list(search.walk(root, unreadable)))
        for number, folder in enumerate(folders):
            if progress is not None:
                progress(number, len(folders), folder)
            results += await one._checkout(folder)
        return results

    async def _checkout(self, folder: Path) -> list[Result]:
        try:
            repository = await asyncio.to_thread(git.repository, folder)
            if repository.common_dir in self._seen:  # by another of its work trees
                return []
            self._seen.add(repository.common_dir)
            return await self._repository(folder, repository)
        except Unavailable:
            raise
        except RegistryError as error:
            return [Result(printable(folder), "project", "failed", str(error))]

    async def _repository(self, folder: Path, repository: Repository) -> list[Result]:
        if repository.origin is None:
            return [Result(printable(folder), "project", "skipped", 'no remote "origin"')]
        origin = await self._registry.normalize_remote_origin(repository.origin)
        if origin is None:
            return [Result(printable(folder), "project", "skipped", "origin is not on GitHub")]
        before = next(iter(await self._registry.find_projects(origin)), None)
        if before is not None and not before.active:
            return [Result(printable(folder), "project", "skipped", f"project {before.name} is inactive")]
        results = [await self._project(origin, repository, before)]
        project = (await self._registry.find_projects(origin))[0]
        known = await self._registry.list_worktrees(project_id=project.id, include_inactive=True)
        for linked in repository.worktrees:
            try:
                results.append(await self._worktree(project, linked, known))
            except Unavailable:
                raise
            except RegistryError as error:
                results.append(Result(printable(linked.path), "worktree", "failed", str(error)))
        return results

    async def _project(self, origin: str, repository: Repository, before: Project | None) -> Result:
        name = before.name if before else origin.rpartition("/")[2].removesuffix(".git")
        keeps_trunk = before is not None and await asyncio.to_thread(os.path.isdir, before.trunk_path)
        trunk = before.trunk_path if before is not None and keeps_trunk else str(repository.trunk)
        project_id = await self._registry.register_project(name, origin, repository.default_branch, trunk)
        after = await self._registry.get_project(project_id)
        path = printable(repository.trunk)
        if before is None or after is None:
            return Result(path, "project", "registered", name)
        changed = _changed(before, after, {"default_branch", "trunk_path"})
        return Result(path, "project", "updated" if changed else "unchanged", changed)

    async def _worktree(self, project: Project, linked: Linked, known: Sequence[Worktree]) -> Result:
        path = str(linked.path)
        same_path = [one for one in known if one.path == path]
        before = next((one for one in same_path if one.active), None)
        if before is None:
            taken = next((one for one in known if one.name == linked.path.name), None)
            reason = await asyncio.to_thread(_reason_to_skip, linked, taken)
            if reason:
                return Result(printable(path), "worktree", "skipped", reason)
            branch = linked.branch or ""
            kind = type_of(self._types, linked.path.name, branch, project.default_branch)
            worktree_id = await self._registry.register_worktree(project.id, kind, linked.path.name, branch, path)
        else:
            worktree_id = before.id
            await self._registry.update_worktree(worktree_id, branch_name=linked.branch)
        state = await asyncio.to_thread(git.state, linked.path, project.default_branch)
        await self._registry.update_worktree_git_state(
            worktree_id,
            None,
            state.uncommitted_files,
            state.ahead,
            state.behind,
            state.commit_hash,
            state.commit_message,
        )
        after = await self._registry.get_worktree(worktree_id)
        if before is None or after is None:
            return Result(printable(path), "worktree", "registered", branch)
        changed = _changed(before, after, GIT_STATE | {"branch_name"})
        return Result(printable(path), "worktree", "updated" if changed else "unchanged", changed)


def type_of(types: Sequence[WorktreeType], folder_name: str, branch: str, default_branch: str) -> str:
    """The type of a worktree: trunk, or the one with the longest prefix that its branch, else its folder, has."""
    if branch == default_branch:
        return "trunk"
    for prefix, value in (("branch_prefix", branch), ("worktree_prefix", folder_name)):
        fitting = [one for one in types if getattr(one, prefix) and value.startswith(getattr(one, prefix))]
        if fitting:
            return max(fitting, key=lambda one: len(getattr(one, prefix))).name
    return FALLBACK_TYPE


def printable(path: str | Path) -> str:
    """A path that can be printed: bytes that are no UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def _reason_to_skip(linked: Linked, taken: Worktree | None) -> str:
    """Why a work tree is not registered; "" when it is. `taken` is the worktree that has its name now."""
    if linked.branch is None:
        return "HEAD is detached"
    if taken is None:
        return ""
    if taken.active:
        return f'name "{taken.name}" is that of {taken.path}' if Path(taken.path).is_dir() else ""
    if taken.branch_name == linked.branch:
        return "merged" if taken.merged_at else "removed"
    return ""


def _changed(before: BaseModel, after: BaseModel, fields: set[str]) -> str:
    """The names of those `fields` that differ."""
    return ", ".join(
        name for name in type(before).model_fields if name in fields and getattr(before, name) != getattr(after, name)
    )
