"""`imi-registry worktree …`: worktrees, who works in them, and their git state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli import worktree_changes as changes
from publisher.cli.arguments import completion
from publisher.cli.arguments.folders import absolute
from publisher.cli.arguments.options import (
    Actor,
    Agent,
    AsJson,
    DatabaseUrl,
    HereOrReference,
    HostOption,
    Metadata,
    ProjectOption,
    UpFolder,
    Utc,
    json_object,
)
from publisher.cli.servers.session import reads, with_registry
from publisher.cli.terminal.text import emit_json
from registry.errors import Unusable

if TYPE_CHECKING:
    from uuid import UUID

    from registry.database import Registry
    from registry.models import Worktree

app = typer.Typer(no_args_is_help=True)


@app.command("register")
def register(
    path: Annotated[Path, typer.Argument(help="The work tree.", show_default="this folder")] = Path(),
    project: ProjectOption = None,
    type_name: Annotated[
        str | None,
        typer.Option(
            "--type",
            help="Default: the type whose prefix the branch has.",
            show_default=False,
            autocompletion=completion.types,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Default: the folder's name.", show_default=False)] = None,
    branch: Annotated[
        str | None, typer.Option("--branch", help="Default: what is checked out.", show_default=False)
    ] = None,
    agent: Agent = None,
    metadata: Metadata = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Register a worktree of a registered project, or update it. What is not given comes from git.

    With --project, --type and --branch the folder need not be there yet.

    Example: imi-registry worktree register ~/code/engine/feat-search --agent ada
    """
    from publisher.checkouts import git
    from publisher.checkouts.naming import type_of
    from publisher.cli.arguments import references

    extra = json_object(metadata)
    folder = absolute(path)
    if project is None or branch is None:
        found = git.repository(folder)
        linked = git.worktree(folder, found)
        folder, branch = linked.path, branch or linked.branch
        project = project or found.origin
    if project is None:
        raise Unusable(f'"{folder}": has no remote "origin"; give --project')
    if branch is None:
        raise Unusable(f'"{folder}": its HEAD is detached; give --branch')

    async def work(registry: Registry) -> Worktree:
        inside = await references.project(registry, project)
        kind = type_name or type_of(await registry.list_worktree_types(), folder.name, branch, inside.default_branch)
        worktree_id = await registry.register_worktree(
            inside.id, kind, name or folder.name, branch, str(folder), agent, extra
        )
        return await changes.found(registry, worktree_id)

    worktree = with_registry(work, database_url, actor)
    changes.say_changed("registered", worktree, as_json)


@app.command("show")
@reads
def show(
    reference: HereOrReference = ".",
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show a worktree.

    Example: imi-registry worktree show feat-search@engine
    """
    from publisher.cli.arguments import references
    from publisher.cli.arguments.hosts import host_names

    async def work(registry: Registry) -> tuple[Worktree, dict[UUID, str]]:
        found = await references.worktree(registry, reference)
        return found, await host_names(registry, [found.host_id])

    worktree, hosts = with_registry(work, database_url)
    if as_json:
        emit_json(worktree)
        return

    from publisher.cli.terminal import tables

    tables.print_details(
        {
            "name": worktree.name,
            "id": worktree.id,
            "project": worktree.project_name,
            "type": worktree.type_name,
            "branch": worktree.branch_name,
            "path": worktree.path,
            "host": hosts.get(worktree.host_id),
            "agent": worktree.agent_id,
            "state": tables.state(worktree),
            "last commit": f"{(worktree.last_commit_hash or '')[:12]} {worktree.last_commit_message or ''}".strip(),
            "synced": worktree.last_sync_at,
            "merged": worktree.merged_at,
            "merged by": worktree.merged_by,
            "merge commit": worktree.merge_commit_hash,
            "metadata": worktree.metadata,
            "registered": worktree.created_at,
            "updated": worktree.updated_at,
        }
    )


@app.command("list")
@reads
def list_(
    project: ProjectOption = None,
    agent: Agent = None,
    host: HostOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Merged and removed ones too.")] = False,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    as_json: AsJson = False,
) -> None:
    """List worktrees by project and name.

    Example: imi-registry worktree list --project engine
    """
    from publisher.cli.arguments import references
    from publisher.cli.arguments.hosts import host_names, known

    async def work(registry: Registry) -> tuple[list[Worktree], dict[UUID, str]]:
        inside = await references.project(registry, project) if project else None
        on = await known(registry, host) if host else None
        found = await registry.list_worktrees(
            project_id=inside.id if inside else None,
            agent_id=agent,
            host_id=on.id if on else None,
            include_inactive=everything,
        )
        return found, await host_names(registry, [one.host_id for one in found])

    worktrees, hosts = with_registry(work, database_url)
    if as_json:
        emit_json(worktrees)
        return

    from publisher.cli.terminal import tables

    tables.print_table(
        tables.by_host([worktree.host_id for worktree in worktrees], hosts)
        | {
            "worktree": [worktree.name for worktree in worktrees],
            "project": [worktree.project_name for worktree in worktrees],
            "branch": [worktree.branch_name for worktree in worktrees],
            "state": [tables.state(worktree) for worktree in worktrees],
            "agent": [worktree.agent_id or "" for worktree in worktrees],
            "id": tables.short_ids([worktree.id for worktree in worktrees]),
        },
        empty="no worktrees; run: imi-registry worktree register",
    )


app.command("update")(changes.update)
app.command("claim")(changes.claim)
app.command("release")(changes.release)
app.command("merge")(changes.merge)
app.command("remove")(changes.remove)
app.command("git-state")(changes.git_state)
