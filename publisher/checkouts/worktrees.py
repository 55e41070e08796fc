"""The worktrees of one project follow the work trees of one repository."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from publisher.checkouts import git, naming
from publisher.checkouts.git import Linked, Repository
from publisher.checkouts.presence import Here, Seen, gone, presence
from publisher.checkouts.results import Report
from registry.database import Registry
from registry.errors import RegistryError, Unavailable, Unusable
from registry.models import Project, Worktree, WorktreeType

CHANGES = {
    "path",
    "branch_name",
    "has_uncommitted_changes",
    "uncommitted_files_count",
    "ahead_of_trunk",
    "behind_trunk",
    "last_commit_hash",
    "last_commit_message",
}


async def retire(registry: Registry, worktree: Worktree, why: str, report: Report) -> None:
    """Remove a worktree that is gone from the registry; `why` is kept in its metadata, so that it can come back."""
    await registry.update_worktree(worktree.id, metadata=gone(worktree, why))
    await registry.remove_worktree(worktree.id)
    report.add(worktree.path, "worktree", "retired", why)


class WorktreeSync:
    """One pass over the work trees of a repository."""

    def __init__(
        self,
        registry: Registry,
        types: Sequence[WorktreeType],
        project: Project,
        repository: Repository,
        latest_origin: str | None,
        here: Here,
        report: Report,
    ) -> None:
        """`latest_origin` is that of the repository, where it is the latest of a project that had others."""
        self._registry = registry
        self._types = types
        self._project = project
        self._repository = repository
        self._latest_origin = latest_origin
        self._here = here
        self._report = report
        self._paths = {str(one.path) for one in repository.worktrees}

    async def run(self) -> None:
        """Bring all of them up to date. One that fails is reported and stops no other; `Unavailable` is raised."""
        for linked in self._repository.worktrees:
            try:
                await self._sync(linked)
            except Unavailable:
                raise
            except RegistryError as error:
                self._report.add(linked.path, "worktree", "failed", str(error))
            except OSError as error:
                self._report.add(linked.path, "worktree", "failed", error.strerror or str(error))
        await self._retire_what_git_forgot()

    async def _sync(self, linked: Linked) -> None:
        path = text_of(linked.path)
        known = await self._registry.list_worktrees(project_id=self._project.id, include_inactive=True)
        at_path = [one for one in known if one.active and one.path == path and self._may_be(one)]
        before = next(iter(sorted(at_path, key=self._here.is_elsewhere)), None)
        if before is None:
            before = await asyncio.to_thread(self._behind_a_link, linked, known)
        found = await asyncio.to_thread(presence, linked.path, Seen.before(before))
        if found == "there":
            await self._sync_existing(linked, before, known)
        elif linked.is_locked or found == "not mounted":
            self._report.add(path, "worktree", "skipped", "locked, and not there" if linked.is_locked else found)
        elif before is not None and not self._here.is_elsewhere(before):
            await retire(self._registry, before, "its folder is gone", self._report)

    async def _sync_existing(self, linked: Linked, before: Worktree | None, known: Sequence[Worktree]) -> None:
        place = await asyncio.to_thread(git.place, linked.path)
        if place.common_dir != self._repository.common_dir:
            return  # another repository is there now, and is synced as that one
        if not place.has_files:
            raise Unusable(f'"{text_of(linked.path)}": core.worktree says that its files are elsewhere')
        seen = await asyncio.to_thread(Seen.at, linked.path, place.git_dir, self._latest_origin)
        if before is None:
            before = next((one for one in known if self._is_moved(one, linked, seen)), None)
        if before is None:
            await self._register(linked, seen, known)
            return
        if before.host_id != self._here.host_id:
            await self._registry.move_worktree(before.id, self._here.host_id)
        await self._registry.update_worktree(
            before.id,
            branch_name=linked.branch,
            path=str(linked.path),
            metadata=None if self._here.is_elsewhere(before) else seen.metadata(Seen.before(before)),
        )
        after = await self._store_state(linked, before)
        self._report.add_change(linked.path, "worktree", before, after, CHANGES)

    def _may_be(self, worktree: Worktree) -> bool:
        """Whether it can be of this host: one of its own, or what this machine saw before the host had a name."""
        return worktree.host_id == self._here.host_id or not self._here.is_elsewhere(worktree)

    def _behind_a_link(self, linked: Linked, known: Sequence[Worktree]) -> Worktree | None:
        """The worktree whose path leads there by a link, as a person may name it; git names folders without links."""
        there = os.path.realpath(linked.path)
        for worktree in known:
            is_ours = worktree.active and not self._here.is_elsewhere(worktree) and worktree.path not in self._paths
            if is_ours and os.path.realpath(worktree.path) == there:
                return worktree
        return None

    def _is_moved(self, worktree: Worktree, linked: Linked, seen: Seen) -> bool:
        """Whether this is what was registered, by `git worktree move`: the same data of git, and the same branch."""
        before = Seen.before(worktree)
        if before is None or not worktree.active or worktree.path in self._paths or not self._may_be(worktree):
            return False
        is_same = (before.host, before.git_dir) == (seen.host, seen.git_dir)
        return is_same and linked.branch in (None, worktree.branch_name)

    async def _register(self, linked: Linked, seen: Seen, known: Sequence[Worktree]) -> None:
        name, reason = await asyncio.to_thread(naming.name_of, linked, known, self._paths, self._here)
        if reason or linked.branch is None:
            self._report.add(linked.path, "worktree", "skipped", reason)
            return
        await self._take_over(linked)
        taken = next((one for one in known if one.active and self._is_called(one, name)), None)
        if taken is not None and taken.branch_name != linked.branch:  # other work, and no folder that was moved
            await retire(self._registry, taken, "its folder is gone", self._report)
        kind = naming.type_of(self._types, linked.path.name, linked.branch, self._project.default_branch)
        worktree_id = await self._registry.register_worktree(
            self._project.id, kind, name, linked.branch, str(linked.path), metadata=seen.metadata()
        )
        worktree = await self._registry.get_worktree(worktree_id)
        if worktree is not None:
            await self._store_state(linked, worktree)
        self._report.add(linked.path, "worktree", "registered", linked.branch)

    def _is_called(self, worktree: Worktree, name: str) -> bool:
        return self._may_be(worktree) and self._here.called(worktree) == name

    async def _take_over(self, linked: Linked) -> None:
        """A project that had a worktree where this repository has one now has it no more."""
        located = await self._registry.get_worktree_by_path(str(linked.path))
        other = await self._registry.get_worktree(located.id) if located is not None else None
        if other is not None and not self._here.is_elsewhere(other):
            why = f"its folder is one of {self._project.remote_origin}"
            await retire(self._registry, other, why, Report())

    async def _store_state(self, linked: Linked, worktree: Worktree) -> Worktree:
        """Store what git says of a work tree; returns the worktree as it is then."""
        state = await asyncio.to_thread(git.state, linked.path, self._project.default_branch)
        await self._registry.update_worktree_git_state(
            worktree.id,
            None,
            state.uncommitted_files,
            state.ahead,
            state.behind,
            state.told_hash,
            state.commit_message,
        )
        return await self._registry.get_worktree(worktree.id) or worktree

    async def _retire_what_git_forgot(self) -> None:
        """Linked work trees that were removed, or pruned, and that nobody put back."""
        for worktree in await self._registry.list_worktrees(project_id=self._project.id):
            seen = Seen.before(worktree)
            if seen is None or self._here.is_elsewhere(worktree) or worktree.path in self._paths:
                continue
            if not seen.is_linked_to(self._repository.common_dir):
                continue
            try:
                found = await asyncio.to_thread(presence, Path(worktree.path), None)
            except OSError as error:
                self._report.add(worktree.path, "worktree", "failed", error.strerror or str(error))
                continue
            if found == "gone":
                await retire(self._registry, worktree, "git has no such work tree", self._report)


def text_of(path: Path) -> str:
    """The path as text. Raises `Invalid` when it is none, as only bytes can be."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise Unusable("its path is not UTF-8") from error
    return str(path)
