"""The worktrees of one project follow the work trees of one repository."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from publisher.checkouts import git, naming
from publisher.checkouts.git import Linked, Repository
from publisher.checkouts.presence import Here, Seen, gone, presence
from publisher.checkouts.results import Report
from publisher.checkouts.run_git import is_text, printable
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
        self._seen: dict[Linked, Seen | None] = {}
        """How each work tree is seen now; None of one that is not there."""
        self._before: dict[Linked, Worktree] = {}
        """As what each is known."""
        self.followed: set[UUID] = set()
        """Those worktrees: git has them, whatever becomes of their turn."""

    async def run(self) -> None:
        """Bring all of them up to date. One that fails is reported and stops no other; `Unavailable` is raised."""
        for linked in self._repository.worktrees:
            with self._failure_told(linked):
                await asyncio.to_thread(self._look, linked)
        known = await self._registry.list_worktrees(project_id=self._project.id)
        await asyncio.to_thread(self._match, known)
        self.followed = {one.id for one in self._before.values()}
        for linked in self._in_order():
            with self._failure_told(linked):
                await self._sync(linked, self._seen[linked], self._before.get(linked))
        await self._retire_what_git_forgot()

    @contextmanager
    def _failure_told(self, linked: Linked) -> Iterator[None]:
        try:
            yield
        except Unavailable:
            raise
        except RegistryError as error:
            self._report.add(linked.path, "worktree", "failed", str(error))
        except OSError as error:
            self._report.add(linked.path, "worktree", "failed", error.strerror or str(error))

    def _look(self, linked: Linked) -> None:
        """Keep how a work tree is seen; not where another repository is now: it is synced as that one."""
        text_of(linked.path)
        if presence(linked.path, None) != "there":
            self._seen[linked] = None
            return
        place = git.place(linked.path)
        if place.common_dir != self._repository.common_dir:
            return
        if not place.has_files:
            raise Unusable(f'"{text_of(linked.path)}": core.worktree says that its files are elsewhere')
        self._seen[linked] = Seen.at(linked.path, place.git_dir, self._latest_origin)

    def _match(self, known: Sequence[Worktree]) -> None:
        """Keep which worktree each work tree was, of those that are active; each is one's at most."""
        rest = sorted(filter(self._may_be, known), key=self._here.is_elsewhere)
        for is_it in (self._is_named_by_hand, self._is_same, self._is_at_its_path, self._is_behind_a_link):
            for linked, seen in self._seen.items():
                if linked not in self._before:
                    before = next((one for one in rest if is_it(one, linked, seen)), None)
                    if before is not None:
                        self._before[linked] = before
                        rest = [one for one in rest if one.id != before.id]

    def _in_order(self) -> Iterator[Linked]:
        """Those first into whose path no other has to leave: only where they change places has one to make way."""
        rest = list(self._seen)
        while rest:
            there = {self._before[one].path: one for one in rest if one in self._before}
            free = [one for one in rest if there.get(str(one.path), one) == one] or rest[:1]
            yield from free
            rest = [one for one in rest if one not in free]

    async def _sync(self, linked: Linked, seen: Seen | None, before: Worktree | None) -> None:
        if seen is not None:
            await self._sync_existing(linked, seen, before)
            return
        found = await asyncio.to_thread(presence, linked.path, Seen.before(before))
        if linked.is_locked or found == "not mounted":
            self._report.add(linked.path, "worktree", "skipped", "locked, and not there" if linked.is_locked else found)
        elif found == "gone" and before is not None and not self._here.is_elsewhere(before):
            await retire(self._registry, before, "its folder is gone", self._report)

    async def _sync_existing(self, linked: Linked, seen: Seen, before: Worktree | None) -> None:
        if before is None:
            await self._register(linked, seen)
            return
        if before.path != str(linked.path):
            await self._make_way(linked)
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

    def _is_named_by_hand(self, worktree: Worktree, linked: Linked, _seen: Seen | None) -> bool:
        """Whether a person registered it there, with that branch, and no sync saw it yet."""
        is_there = worktree.path == str(linked.path) and linked.branch in (None, worktree.branch_name)
        return is_there and Seen.before(worktree) is None

    def _is_same(self, worktree: Worktree, linked: Linked, seen: Seen | None) -> bool:
        """Whether this is what was registered, wherever that was then: the same data of git, and the same work.

        The next work tree of that name has the data of one that was removed, but was never on the branch of that.
        """
        before = Seen.before(worktree)
        if seen is None or before is None or (before.host, before.git_dir) != (seen.host, seen.git_dir):
            return False
        return linked.branch in (None, worktree.branch_name) or git.was_on(linked.path, worktree.branch_name)

    def _is_at_its_path(self, worktree: Worktree, linked: Linked, seen: Seen | None) -> bool:
        """Whether it was there before, unless all that git says of it is another's."""
        before = Seen.before(worktree)
        is_another = (
            seen is not None
            and before is not None
            and before.is_linked_to(self._repository.common_dir)
            and (before.host, before.git_dir) != (seen.host, seen.git_dir)
            and linked.branch not in (None, worktree.branch_name)
        )
        return worktree.path == str(linked.path) and (self._here.is_elsewhere(worktree) or not is_another)

    def _is_behind_a_link(self, worktree: Worktree, linked: Linked, _seen: Seen | None) -> bool:
        """Whether its path leads there by a link, as a person may name it; git names folders without links."""
        is_ours = not self._here.is_elsewhere(worktree) and worktree.path not in self._paths
        return is_ours and os.path.realpath(worktree.path) == os.path.realpath(linked.path)

    async def _register(self, linked: Linked, seen: Seen) -> None:
        if linked.branch is not None:
            await self._make_way(linked)
        known = await self._registry.list_worktrees(project_id=self._project.id, include_inactive=True)
        kept = self._paths | {one.path for one in known if one.id in self.followed}
        name, reason = await asyncio.to_thread(naming.name_of, linked, known, kept, self._here)
        if reason or linked.branch is None:
            self._report.add(linked.path, "worktree", "skipped", reason)
            return
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

    async def _make_way(self, linked: Linked) -> None:
        """What was registered at this path goes on elsewhere, which its turn will tell, or is there no more."""
        located = await self._registry.get_worktree_by_path(str(linked.path))
        other = await self._registry.get_worktree(located.id) if located is not None else None
        if other is None or self._here.is_elsewhere(other):
            return
        seen = Seen.before(other)
        if seen is not None and other.id in self.followed:
            await self._registry.update_worktree(other.id, path=seen.git_dir)  # a path that is its own meanwhile
        elif other.project_id == self._project.id:
            await retire(self._registry, other, "another work tree is in its folder", self._report)
        else:
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
            if worktree.id in self.followed or not seen.is_linked_to(self._repository.common_dir):
                continue
            try:
                found = await asyncio.to_thread(presence, Path(worktree.path), None)
            except OSError as error:
                self._report.add(worktree.path, "worktree", "failed", error.strerror or str(error))
                continue
            if found == "gone":
                await retire(self._registry, worktree, "git has no such work tree", self._report)


def text_of(path: Path) -> str:
    """The path as text. Raises `Unusable` when it is none, as only bytes can be."""
    if not is_text(path):
        raise Unusable(f'"{printable(path)}": a path must be UTF-8')
    return str(path)
