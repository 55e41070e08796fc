"""The worktrees of the registry follow the work trees of git."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from publisher.checkouts import git, naming
from publisher.checkouts.found import Found, look_at
from publisher.checkouts.git import Linked, Repository
from publisher.checkouts.presence import Here, Seen, gone, presence
from publisher.checkouts.results import Report
from publisher.checkouts.run_git import printable
from registry.database import Registry
from registry.errors import RegistryError, Unavailable
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
    """One pass over the work trees of repositories: all are looked at and matched before anything is written."""

    def __init__(self, registry: Registry, types: Sequence[WorktreeType], here: Here, report: Report) -> None:
        self._registry = registry
        self._types = types
        self._here = here
        self._report = report
        self._found: list[Found] = []
        self._followed: dict[UUID, Found] = {}
        """What the worktrees are that git has, whatever becomes of their turn."""
        self._paths: set[str] = set()
        self._read: set[str] = set()
        """Where the repositories have their data, of which the work trees are known."""
        self.unread: set[str] = set()
        """Where those have it of which git could not be asked, or not of each work tree."""

    async def look(self, project: Project, repository: Repository, latest_origin: str | None) -> None:
        """Keep how the work trees of a repository are seen. One that fails is reported and stops no other.

        `latest_origin` is that of the repository, where it is the latest of a project that had others.
        """
        known = await self._registry.list_worktrees(project_id=project.id, include_inactive=True)
        ours = [one for one in known if not self._here.is_elsewhere(one)]
        self._read.add(printable(repository.common_dir))
        for linked in repository.worktrees:
            self._paths.add(str(linked.path))
            with self._failure_told(linked.path):
                found = await asyncio.to_thread(look_at, linked, project, repository, latest_origin, ours)
                if found is not None:
                    self._found.append(found)
                continue
            self.unread.add(printable(repository.common_dir))

    async def run(self, roots: Sequence[Path], progress: Callable[[int, int, Path], None] | None) -> None:
        """Bring all of them up to date, and retire what is gone of them, or in `roots`.

        One that fails is reported and stops no other; `Unavailable` is raised. `progress`: see `Sync.run`.
        """
        known = await self._registry.list_worktrees()
        await asyncio.to_thread(self._match, known)
        await self._make_way(known)
        known_first = sorted(self._found, key=lambda one: one.before is None)
        for number, one in enumerate(known_first):
            if progress is not None:
                progress(number, len(self._found), one.linked.path)
            with self._failure_told(one.linked.path):
                await self._sync(one)
        await self._retire_what_is_gone(roots)

    @contextmanager
    def _failure_told(self, path: Path) -> Iterator[None]:
        try:
            yield
        except Unavailable:
            raise
        except RegistryError as error:
            self._report.add(path, "worktree", "failed", str(error))
        except OSError as error:
            self._report.add(path, "worktree", "failed", error.strerror or str(error))

    def _match(self, known: Sequence[Worktree]) -> None:
        """Keep which worktree each work tree was, of those that are active; each is one's at most.

        What is moved is known first, in all repositories: another one may have a work tree at its path by now.
        """
        rows: dict[UUID, list[Worktree]] = {}
        for worktree in sorted(filter(self._may_be, known), key=self._here.is_elsewhere):
            rows.setdefault(worktree.project_id, []).append(worktree)
        for is_it in (self._is_named_by_hand, self._is_same, self._is_at_its_path, self._is_behind_a_link):
            for one in self._found:
                if one.before is None:
                    rest = (row for row in rows.get(one.project.id, []) if row.id not in self._followed)
                    one.before = next((row for row in rest if is_it(row, one)), None)
                    if one.before is not None:
                        self._followed[one.before.id] = one

    async def _make_way(self, known: Sequence[Worktree]) -> None:
        """What was registered where another work tree is now goes on elsewhere, which its turn will tell, or is gone.

        What changes its host leaves its path as well: on that host another one may have it.
        """
        there = {one.path: one for one in self._found if one.seen is not None}
        for worktree in known:
            now, other = self._followed.get(worktree.id), there.get(worktree.path)
            if self._here.is_elsewhere(worktree) or (now is not None and now.path == worktree.path):
                continue
            if other is not None or (now is not None and worktree.host_id != self._here.host_id):
                with self._failure_told(Path(worktree.path)):
                    await self._leave(worktree, other)

    async def _leave(self, worktree: Worktree, other: Found | None) -> None:
        """Give it a path that is its own meanwhile, or retire it."""
        seen = Seen.before(worktree)
        if seen is not None and self._goes_on(worktree):
            await self._registry.update_worktree(worktree.id, path=seen.git_dir)
        elif other is not None and other.project.id == worktree.project_id:
            await retire(self._registry, worktree, "another work tree is in its folder", self._report)
        elif other is not None:
            await retire(self._registry, worktree, f"its folder is one of {other.project.remote_origin}", Report())

    def _goes_on(self, worktree: Worktree) -> bool:
        """Whether git has it, or its data at least, and perhaps a place for it where it cannot be read."""
        seen = Seen.before(worktree)
        if worktree.id in self._followed or seen is None or seen.linked_to not in self.unread:
            return worktree.id in self._followed
        is_another = any(one.seen is not None and one.seen.has_data_of(seen) for one in self._found)
        return os.path.lexists(seen.git_dir) and not is_another

    async def _sync(self, one: Found) -> None:
        if one.seen is not None and one.before is not None:
            await self._update(one, one.seen, one.before)
        elif one.seen is not None:
            await self._register(one, one.seen)
        else:
            await self._miss(one.linked, one.before)

    async def _miss(self, linked: Linked, before: Worktree | None) -> None:
        found = await asyncio.to_thread(presence, linked.path, Seen.before(before))
        if linked.is_locked or found == "not mounted":
            self._report.add(linked.path, "worktree", "skipped", "locked, and not there" if linked.is_locked else found)
        elif found == "gone" and before is not None and not self._here.is_elsewhere(before):
            await retire(self._registry, before, "its folder is gone", self._report)

    async def _update(self, one: Found, seen: Seen, before: Worktree) -> None:
        if before.host_id != self._here.host_id:
            await self._registry.move_worktree(before.id, self._here.host_id)
        was = Seen.before(before)
        is_another = seen.is_made_anew(was) and one.is_work_of(before) is False
        if is_another and one.linked.branch is not None:
            await self._registry.release_worktree(before.id)
        # What is elsewhere was found at its path: with the same data of git this machine saw it, by a name it had then.
        is_ours = not self._here.is_elsewhere(before) or (was is not None and seen.is_at_place_of(was))
        await self._registry.update_worktree(
            before.id,
            branch_name=one.linked.branch,
            path=one.path,
            metadata=seen.metadata(was) if is_ours else None,
        )
        after = await self._store_state(one, before)
        self._report.add_change(one.path, "worktree", before, after, CHANGES)

    def _may_be(self, worktree: Worktree) -> bool:
        """Whether it can be of this host: one of its own, or what this machine saw before the host had a name."""
        return worktree.host_id == self._here.host_id or not self._here.is_elsewhere(worktree)

    def _is_named_by_hand(self, worktree: Worktree, one: Found) -> bool:
        """Whether a person registered it there, with that branch, and no sync saw it yet."""
        is_there = worktree.path == one.path and one.linked.branch in (None, worktree.branch_name)
        return is_there and Seen.before(worktree) is None

    def _is_same(self, worktree: Worktree, one: Found) -> bool:
        """Whether this is what was registered, wherever that was then: the same data of git, and the same work.

        The next work tree of that name has the data of one that was removed, but was never on the branch of that.
        """
        has_its_data = one.seen is not None and one.seen.has_data_of(Seen.before(worktree))
        return has_its_data and bool(one.is_work_of(worktree))

    def _is_at_its_path(self, worktree: Worktree, one: Found) -> bool:
        """Whether it was there before, unless all that git says of it is another's."""
        before = Seen.before(worktree)
        if worktree.path != one.path or one.seen is None or before is None or self._here.is_elsewhere(worktree):
            return worktree.path == one.path
        return one.seen.has_data_of(before) or bool(one.is_work_of(worktree))

    def _is_behind_a_link(self, worktree: Worktree, one: Found) -> bool:
        """Whether its path leads there by a link, as a person may name it; git names folders without links."""
        is_ours = not self._here.is_elsewhere(worktree) and worktree.path not in self._paths
        return is_ours and os.path.realpath(worktree.path) == os.path.realpath(one.path)

    async def _register(self, one: Found, seen: Seen) -> None:
        linked, project = one.linked, one.project
        known = await self._registry.list_worktrees(project_id=project.id, include_inactive=True)
        kept = {row.path for row in known if self._goes_on(row) and row.path not in self._paths}
        kept |= {str(each.path) for each in one.repository.worktrees}
        name, reason = await asyncio.to_thread(naming.name_of, linked, known, kept, self._here)
        if reason or linked.branch is None:
            self._report.add(linked.path, "worktree", "skipped", reason)
            return
        taken = next((row for row in known if self._may_be(row) and self._here.called(row) == name), None)
        if taken is not None and not one.is_work_of(taken):  # other work, and no folder that was moved
            await self._registry.release_worktree(taken.id)
            if taken.active:
                await retire(self._registry, taken, "its folder is gone", self._report)
        kind = naming.type_of(self._types, linked.path.name, linked.branch, project.default_branch)
        worktree_id = await self._registry.register_worktree(
            project.id, kind, name, linked.branch, one.path, metadata=seen.metadata()
        )
        worktree = await self._registry.get_worktree(worktree_id)
        if worktree is not None:
            await self._store_state(one, worktree)
        self._report.add(linked.path, "worktree", "registered", linked.branch)

    async def _store_state(self, one: Found, worktree: Worktree) -> Worktree:
        """Store what git says of a work tree; returns the worktree as it is then."""
        state = await asyncio.to_thread(git.state, one.linked.path, one.project.default_branch)
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

    async def _retire_what_is_gone(self, roots: Sequence[Path]) -> None:
        """Worktrees that this host saw: of these repositories, wherever they were, and in `roots`."""
        reported = {result.path for result in self._report.results if result.kind == "worktree"}
        for worktree in await self._registry.list_worktrees():
            path, seen = Path(worktree.path), Seen.before(worktree)
            if seen is None or self._here.is_elsewhere(worktree) or worktree.path in reported:
                continue
            is_forgotten = seen.linked_to in self._read
            if self._goes_on(worktree) or not (is_forgotten or any(path.is_relative_to(root) for root in roots)):
                continue
            with self._failure_told(path):
                found = await asyncio.to_thread(presence, path, None if is_forgotten else seen)
                if found == "not mounted":
                    self._report.add(path, "worktree", "skipped", found)
                elif found == "gone":
                    why = "git has no such work tree" if is_forgotten else "its folder is gone"
                    await retire(self._registry, worktree, why, self._report)
