"""`imi-registry inflight`, `stats` and `path`: questions about the registry as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments import completion
from publisher.cli.arguments.options import (
    AsJson,
    DatabaseUrl,
    HostOption,
    ProjectOption,
    ProjectReference,
    UpFolder,
    Utc,
)
from publisher.cli.servers.session import reads, with_registry
from publisher.cli.terminal.text import emit_json, emit_path

if TYPE_CHECKING:
    from uuid import UUID

    from registry.database import Registry
    from registry.models import ProjectInflightWork, RegistryStats


@reads
def inflight(
    project: ProjectOption = None,
    host: HostOption = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """List worktrees with uncommitted changes, or commits ahead of their trunk or behind it, latest first.

    Where several hosts have some, it is listed by host.

    Example: imi-registry inflight --project engine
    """
    from publisher.cli.arguments import references
    from publisher.cli.arguments.hosts import host_names, known
    from publisher.cli.arguments.times import printed

    async def work(registry: Registry) -> tuple[list[ProjectInflightWork], dict[UUID, str]]:
        project_id = (await references.project(registry, project)).id if project else None
        host_id = (await known(registry, host)).id if host else None
        found = await registry.get_inflight_work(project_id, host_id=host_id)
        return found, await host_names(registry, [work.host_id for work in found])

    found, hosts = with_registry(work, database_url)
    if as_json:
        emit_json(found)
        return

    from publisher.cli.terminal import tables

    found.sort(key=lambda work: hosts.get(work.host_id, ""))  # of one host, the latest stays first
    tables.print_table(
        tables.by_host([work.host_id for work in found], hosts)
        | {
            "worktree": [work.worktree_name for work in found],
            "project": [work.project_name or "" for work in found],
            "branch": [work.branch_name for work in found],
            "work": [tables.work_left(work) for work in found],
            "agent": [work.agent_id or "" for work in found],
            "last": [printed(work.last_activity) for work in found],
            "id": tables.short_ids([work.worktree_id for work in found]),
        },
        empty="nothing in flight",
        dispensable=("id", "agent", "last"),
    )


@reads
def stats(database_url: DatabaseUrl = None, _state_dir: UpFolder = None, as_json: AsJson = False) -> None:
    """Count what is registered.

    Example: imi-registry stats --json
    """

    async def work(registry: Registry) -> RegistryStats:
        return await registry.get_registry_stats()

    found = with_registry(work, database_url)
    if as_json:
        emit_json(found)
        return

    from publisher.cli.terminal import tables

    tables.print_details(
        {
            "projects": f"{found.active_projects:,} active, {found.total_projects:,} in all",
            "worktrees": f"{found.active_worktrees:,} active, {found.total_worktrees:,} in all",
            "in flight": f"{found.in_flight_worktrees:,} worktrees",
            "activities": f"{found.activities_last_24h:,} in the last 24 hours, {found.total_activities:,} in all",
        }
    )


@reads
def path(
    reference: ProjectReference,
    worktree: Annotated[
        str | None,
        typer.Argument(
            help="Name or id of a worktree, or the name of one that is not there; default: the trunk.",
            show_default=False,
            autocompletion=completion.worktrees,
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    as_json: AsJson = False,
) -> None:
    """Print where a project, or a worktree of it, is or belongs on disk.

    Example: cd "$(imi-registry path engine)"
    """
    from publisher.cli.arguments import references
    from publisher.cli.terminal.tables import SHORTEST_ID

    async def work(registry: Registry) -> str:
        project = await references.project(registry, reference)
        if worktree is None:
            return await registry.get_project_working_path(project.id)
        of_project = await registry.list_worktrees(project_id=project.id, include_inactive=True)
        # Shorter than ids are printed, it may be the name of one that is to come: "fix" is none, "add" could be an id.
        named = [one for one in of_project if one.name == worktree]
        meant = references.called(of_project, worktree) if len(worktree) >= SHORTEST_ID else named
        if meant and (found := references.only_worktree(worktree, meant)).active:
            return found.path
        return await registry.get_project_working_path(project.id, worktree)

    found = with_registry(work, database_url)
    if as_json:
        emit_json({"path": found})
    else:
        emit_path(found)
