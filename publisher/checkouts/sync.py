"""Bring the registry up to date with the git checkouts of a folder: what is new, what changed, what is gone.

What people decided stays: a deactivated project, and a worktree that was merged or removed, are left alone as long as
the same branch is checked out; names and types are never changed, and a trunk path only when it is gone. What another
host registered is that one's affair, and what cannot be looked at now is left alone: see `presence`.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from publisher.checkouts import git, origins, run_git, search
from publisher.checkouts.found import text_of
from publisher.checkouts.git import Repository
from publisher.checkouts.presence import Here, Seen, is_mounted
from publisher.checkouts.results import Report, Result
from publisher.checkouts.run_git import is_text, printable
from publisher.checkouts.worktrees import WorktreeSync
from registry.database import Registry
from registry.errors import NotFound, RegistryError, Unavailable
from registry.models import DEFAULT_HOST, Project, WorktreeType

UNLISTED = "git lists no work tree there; git worktree repair, in it, may tell git"
CALLED_BARE = "core.bare is true, so that git takes its files for none; git config core.bare false, in it, tells git"


class Sync:
    """One pass over the checkouts in a folder."""

    def __init__(self, registry: Registry, types: Sequence[WorktreeType], root: Path, here: Here) -> None:
        self._registry = registry
        self._types = types
        self._root = root
        self._here = here
        self._report = Report()
        self._worktrees = WorktreeSync(registry, types, here, self._report)
        self._folders: dict[Path, Path] = {}
        """One work tree of each repository of the pass, by where that has its data."""

    @classmethod
    async def run(
        cls, registry: Registry, root: Path, progress: Callable[[int, int, Path], None] | None = None
    ) -> list[Result]:
        """Sync all checkouts in `root`.

        `progress` gets how many of how many are done, and the next one: of the repositories that are looked at, then of
        their work trees.

        One that fails is among the results and stops no other. Raises `Unavailable` when the database is lost, and
        `RegistryError` when there is no git, or one too old.
        """
        await asyncio.to_thread(run_git.version)
        one = cls(registry, await registry.list_worktree_types(), root, Here(await registry.own_host()))
        repositories = await asyncio.to_thread(one._repositories)
        one._folders = {common_dir: folders[0] for common_dir, folders in repositories.items()}
        for number, (common_dir, (folder, *others)) in enumerate(repositories.items()):
            if progress is not None:
                progress(number, len(repositories), folder)
            try:
                await one._checkout(folder, others)
            except Unavailable:
                raise
            except RegistryError as error:
                one._report.add(folder, "project", "failed", str(error))
                one._worktrees.unread.add(printable(common_dir))
        roots = (root, await asyncio.to_thread(root.resolve))  # git names folders without links
        await one._worktrees.run(roots, progress)
        return one._report.results

    def _repositories(self) -> dict[Path, list[Path]]:
        """Where each repository has its data, and its folders, the main work tree first, where that is among them."""

        def unreadable(error: OSError) -> None:
            self._report.add(error.filename, "folder", "failed", error.strerror or str(error))

        found: dict[Path, list[Path]] = {}
        for folder in search.walk(self._root, unreadable):
            try:
                place = git.place(folder)
            except RegistryError as error:
                self._report.add(folder, "project", "failed", str(error))
                self._worktrees.unread.add(printable(folder.resolve() / ".git"))
                continue
            known = found.setdefault(place.common_dir, [])
            known.insert(0 if place.is_main else len(known), folder)
        return found

    async def _checkout(self, folder: Path, others: Sequence[Path]) -> None:
        """One repository, by one of its work trees and the others that were found."""
        url = await asyncio.to_thread(git.origin, folder)
        origin = await self._normalized(url)
        if url is not None and origin is None:
            self._report.add(folder, "project", "skipped", origins.why_not_on_github(url))
            return
        before = await self._registry.project_of_origin(origin) if origin is not None else None
        if before is None:
            before = await self._project_here(folder, origin)
        elif before.active and origin not in (None, before.remote_origin):
            await self._follow_back(before, folder, origin)
        if before is None and url is None:
            self._report.add(folder, "project", "skipped", 'no remote "origin"')
            return
        if before is not None and not before.active:
            self._report.add(folder, "project", "skipped", f"project {before.name} is inactive")
            return
        repository = await asyncio.to_thread(git.repository, folder, before.default_branch if before else None)
        project = await self._project(repository, before)
        if repository.stale_head is not None:
            self._report.add(repository.trunk, "branch", "skipped", _doubt(repository.stale_head, project))
        has_latest = origin == project.remote_origin and "former_origins" in project.metadata
        latest = origin if has_latest else None
        await self._worktrees.look(project, repository, latest)
        for unlisted, why in await asyncio.to_thread(_unlisted, repository, [folder, *others]):
            self._report.add(unlisted, "worktree", "skipped", why)

    async def _normalized(self, url: str | None) -> str | None:
        return None if url is None else await self._registry.normalize_remote_origin(url)

    async def _project_here(self, folder: Path, origin: str | None) -> Project | None:
        """The project, as it was, that is checked out here by an origin that is unknown: it has that one then.

        None when it is another repository that is here now, or when another checkout kept the known origin: a fork.
        """
        repository = await asyncio.to_thread(git.repository, folder)
        project = await self._project_of_worktrees(folder, repository)
        if project is None or origin is None:
            return project
        if await self._is_kept_by_another(project, repository):
            return None
        await self._registry.change_project_origin(project.id, origin)
        return project

    async def _follow_back(self, project: Project, folder: Path, origin: str) -> None:
        """Give `project` a former origin again where its repository was renamed back.

        Only a checkout that had the latest one tells that. One that was never updated has the former one all the time:
        GitHub leads it to the repository.
        """
        repository = await asyncio.to_thread(git.repository, folder)
        paths = {str(one.path) for one in repository.worktrees}
        here = [one for one in await self._registry.list_worktrees(project_id=project.id) if one.path in paths]
        seen = [Seen.before(one) for one in here if not self._here.is_elsewhere(one)]
        if not any(one is not None and one.latest_origin == project.remote_origin for one in seen):
            return
        if not await self._is_kept_by_another(project, repository):
            await self._registry.change_project_origin(project.id, origin)

    async def _is_kept_by_another(self, project: Project, repository: Repository) -> bool:
        """Whether another checkout of this host has the origin that the registry knows of `project`."""
        paths = {str(one.path) for one in repository.worktrees}
        known = await self._registry.list_worktrees(project_id=project.id)
        others = [Path(one.path) for one in known if one.path not in paths and not self._here.is_elsewhere(one)]
        others += [folder for common_dir, folder in self._folders.items() if common_dir != repository.common_dir]
        for other in others:
            there = await asyncio.to_thread(git.origin, other)
            if await self._normalized(there) == project.remote_origin:
                return True
        return False

    async def _project_of_worktrees(self, folder: Path, repository: Repository) -> Project | None:
        """The project of which worktrees are registered at the paths of this repository, and with its commits."""
        for path in filter(is_text, (one.path for one in repository.worktrees)):
            located = await self._registry.get_worktree_by_path(str(path))
            worktree = await self._registry.get_worktree(located.id) if located is not None else None
            if worktree is None or self._here.is_elsewhere(worktree):
                continue
            commit = worktree.last_commit_hash
            if commit is None or await asyncio.to_thread(git.has_commit, folder, commit):
                return await self._registry.get_project(worktree.project_id)
        trunk = str(repository.trunk)
        for place in await self._registry.project_hosts(host_id=self._here.host_id):
            if place.trunk_path == trunk and not await self._registry.list_worktrees(project_id=place.project_id):
                project = await self._registry.get_project(place.project_id)
                if project is not None and project.active:
                    return project
        return None

    async def _project(self, repository: Repository, before: Project | None) -> Project:
        """Register the project, or bring it up to date; returns it as it is then."""
        if before is None:
            url, trunk = repository.origin or "", text_of(repository.trunk)
            name = origins.repository_name(url)
            project_id = await self._registry.register_project(name, url, repository.default_branch, trunk)
        else:
            project_id = before.id
            before = await self._as_here(before)
            keeps_trunk = before.trunk_path != "" and await self._keeps_trunk(before)
            await self._registry.update_project(
                project_id,
                default_branch=repository.default_branch,
                trunk_path=str(repository.trunk) if is_text(repository.trunk) and not keeps_trunk else None,
            )
        after = await self._registry.get_project(project_id)
        if after is None:
            raise NotFound(f"project {project_id} was deleted meanwhile")
        after = await self._as_here(after)
        if before is None:
            self._report.add(repository.trunk, "project", "registered", after.name)
        else:
            fields = {"remote_origin", "default_branch", "trunk_path"}
            self._report.add_change(repository.trunk, "project", before, after, fields)
        return after

    async def _as_here(self, project: Project) -> Project:
        """`project` with the trunk path that it has on this host.

        None, "", where it is on others alone. One without a name does not say where it is then: that of its home stays.
        """
        places = {place.host_id: place.trunk_path for place in await self._registry.project_hosts(project.id)}
        otherwise = project.trunk_path if self._here.host is None else ""
        return project.model_copy(update={"trunk_path": places.get(self._here.host_id, otherwise)})

    async def _is_here(self, project: Project) -> bool:
        places = await self._registry.project_hosts(project.id, self._here.host_id)
        return bool(places)

    async def _keeps_trunk(self, project: Project) -> bool:
        """Whether the trunk is where the registry says, as far as this host can know; `project` is as it is here."""
        if self._here.host is None and not await self._is_here(project):
            return True
        try:
            if stat.S_ISDIR((await asyncio.to_thread(os.stat, project.trunk_path)).st_mode):
                return True
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:  # no right to look
            return True
        found = await self._registry.find_worktrees(project.trunk_path)
        at_trunk = [one for one in found if one.active and one.host_id in (DEFAULT_HOST, self._here.host_id)]
        return any(self._here.is_elsewhere(worktree) or not is_mounted(Seen.before(worktree)) for worktree in at_trunk)


def _doubt(stale_head: str, project: Project) -> str:
    """Why the default branch may be another one, and how git gets to know it."""
    return (
        f'origin/HEAD names "{stale_head}", which origin has no more: "{project.default_branch}" is kept; git remote '
        "set-head origin --auto asks origin which branch it is now"
    )


def _unlisted(repository: Repository, folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Those of its `folders` that git does not list although there are files, and why.

    They were moved or copied by hand, their data of git is damaged or another one's, or git is told that they are bare.
    """
    listed = {os.path.realpath(one.path) for one in repository.worktrees}
    rest = [folder for folder in folders if os.path.realpath(folder) not in listed]
    unlisted = [(folder, UNLISTED) for folder in rest if git.is_work_tree(folder)]
    return unlisted + [(folder, CALLED_BARE) for folder in rest if git.is_called_bare(folder)]
