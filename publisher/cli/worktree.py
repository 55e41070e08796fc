"""`imi-registry worktree …`: worktrees, who works in them, and their git state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.session import Actor, AsJson, DatabaseUrl, Metadata, Yes, parsed, user_name, with_registry
from registry.errors import Invalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from registry.database import Registry
    from registry.models import Worktree

MOST = 2**31 - 1

app = typer.Typer(help="Worktrees: who works where, and what is not merged yet.", no_args_is_help=True)

WorktreeReference = Annotated[
    str,
    typer.Argument(metavar="WORKTREE", help="Path (or a folder in it), name, NAME@PROJECT, or id (its beginning)."),
]
HereOrReference = Annotated[
    str,
    typer.Argument(metavar="WORKTREE", help="Path, name, NAME@PROJECT, or id; default: here.", show_default=False),
]
ProjectOption = Annotated[str | None, typer.Option("--project", help="Name, origin or id.", show_default=False)]
Agent = Annotated[str | None, typer.Option("--agent", help="Id of an agent.", show_default=False)]
Files = Annotated[
    int | None, typer.Option("--uncommitted", help="Files not committed.", min=0, max=MOST, show_default=False)
]
Ahead = Annotated[
    int | None, typer.Option("--ahead", help="Commits the trunk lacks.", min=0, max=MOST, show_default=False)
]
Behind = Annotated[
    int | None, typer.Option("--behind", help="Commits of the trunk it lacks.", min=0, max=MOST, show_default=False)
]


@app.command("register")
def register(
    path: Annotated[Path, typer.Argument(help="The work tree.", show_default="this folder")] = Path(),
    project: ProjectOption = None,
    type_name: Annotated[
        str | None, typer.Option("--type", help="Default: the type whose prefix the branch has.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Default: the folder's name.", show_default=False)] = None,
    branch: Annotated[
        str | None, typer.Option("--branch", help="Default: what is checked out.", show_default=False)
    ] = None,
    agent: Agent = None,
    metadata: Metadata = None,
    database_url: DatabaseUrl = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Register a worktree of a registered project, or update it. What is not given comes from git.

    With --project, --type and --branch the folder need not be there yet.

    Example: imi-registry worktree register ~/code/engine/feat-search --agent ada
    """
    from publisher.checkouts import git
    from publisher.checkouts.sync import type_of
    from publisher.cli import references

    extra = parsed(metadata)
    folder = path.expanduser().absolute()
    if project is None or branch is None:
        found = git.repository(folder)
        linked = git.worktree(folder, found)
        folder, branch = linked.path, branch or linked.branch
        project = project or found.origin
    if project is None:
        raise Invalid(f'"{folder}": has no remote "origin"; give --project')
    if branch is None:
        raise Invalid(f'"{folder}": its HEAD is detached; give --branch')

    async def work(registry: Registry) -> Worktree:
        inside = await references.project(registry, project)
        kind = type_name or type_of(await registry.list_worktree_types(), folder.name, branch, inside.default_branch)
        worktree_id = await registry.register_worktree(
            inside.id, kind, name or folder.name, branch, str(folder), agent, extra
        )
        return await _worktree(registry, worktree_id)

    worktree = with_registry(work, database_url, actor)
    _say("registered", worktree, as_json)


@app.command("show")
def show(reference: HereOrReference = ".", database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Show a worktree.

    Example: imi-registry worktree show feat-search@engine
    """
    from publisher.cli import references
    from publisher.cli.terminal import tables

    async def work(registry: Registry) -> Worktree:
        return await references.worktree(registry, reference)

    worktree = with_registry(work, database_url)
    if as_json:
        print(worktree.model_dump_json())
        return
    tables.print_details(
        {
            "name": worktree.name,
            "id": worktree.id,
            "project": worktree.project_name,
            "type": worktree.type_name,
            "branch": worktree.branch_name,
            "path": worktree.path,
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
def list_(
    project: ProjectOption = None,
    agent: Agent = None,
    everything: Annotated[bool, typer.Option("--all", help="Merged and removed ones too.")] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List worktrees by project and name.

    Example: imi-registry worktree list --project engine
    """
    from publisher.cli import references
    from publisher.cli.terminal import tables

    async def work(registry: Registry) -> list[Worktree]:
        inside = await references.project(registry, project) if project else None
        return await registry.list_worktrees(
            project_id=inside.id if inside else None, agent_id=agent, include_inactive=everything
        )

    worktrees = with_registry(work, database_url)
    if as_json:
        tables.print_json(worktrees)
        return
    tables.print_table(
        {
            "worktree": [one.name for one in worktrees],
            "project": [one.project_name for one in worktrees],
            "branch": [one.branch_name for one in worktrees],
            "state": [tables.state(one) for one in worktrees],
            "agent": [one.agent_id or "" for one in worktrees],
            "id": tables.short_ids([one.id for one in worktrees]),
        },
        empty="no worktrees; run: imi-registry worktree register",
    )


@app.command("update")
def update(
    reference: WorktreeReference,
    name: Annotated[
        str | None, typer.Option("--name", help="New name, unique in its project.", show_default=False)
    ] = None,
    branch: Annotated[str | None, typer.Option("--branch", help="Git branch.", show_default=False)] = None,
    path: Annotated[str | None, typer.Option("--path", help="Where the work tree is now.", show_default=False)] = None,
    type_name: Annotated[str | None, typer.Option("--type", help="Worktree type.", show_default=False)] = None,
    metadata: Metadata = None,
    database_url: DatabaseUrl = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a worktree.

    Example: imi-registry worktree update feat-search@engine --path ~/code/engine/feat-find --branch feat/find
    """
    extra = parsed(metadata)
    new_path = str(Path(path).expanduser().absolute()) if path else path  # an empty one is refused, not here
    _change(
        reference,
        lambda registry, one: registry.update_worktree(one.id, name, branch, new_path, type_name, extra),
        database_url,
        actor,
        "updated",
        as_json,
    )


@app.command("claim")
def claim(
    reference: HereOrReference = ".",
    agent: Agent = None,
    database_url: DatabaseUrl = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Claim a worktree for an agent (default: the actor). Refused while another agent holds it.

    Example: imi-registry worktree claim feat-search@engine --agent ada
    """
    holder = agent or actor or user_name()
    _change(
        reference,
        lambda registry, one: registry.claim_worktree(one.id, holder),
        database_url,
        actor,
        "claimed",
        as_json,
    )


@app.command("release")
def release(
    reference: HereOrReference = ".",
    agent: Agent = None,
    database_url: DatabaseUrl = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Release a worktree from its agent. With --agent it is refused when another agent holds it.

    Example: imi-registry worktree release feat-search@engine
    """
    _change(
        reference,
        lambda registry, one: registry.release_worktree(one.id, agent),
        database_url,
        actor,
        "released",
        as_json,
    )


@app.command("merge")
def merge(
    reference: WorktreeReference,
    commit: Annotated[str, typer.Argument(help="Hash of the merge commit.")],
    merged_by: Annotated[
        str | None, typer.Option("--by", help="Who merged it; default: the actor.", show_default=False)
    ] = None,
    database_url: DatabaseUrl = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Record that a worktree was merged; it is inactive then.

    Example: imi-registry worktree merge feat-search@engine 1f0c2d3 --by ada
    """
    by = merged_by or actor or user_name()

    async def change(registry: Registry, worktree: Worktree) -> None:
        await registry.mark_worktree_merged(worktree.id, by, commit)

    _change(reference, change, database_url, actor, "merged", as_json)


@app.command("remove")
def remove(
    reference: WorktreeReference,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Remove a worktree from the registry; its files stay. Registering it again brings it back.

    Example: imi-registry worktree remove feat-search@engine --yes
    """

    async def change(registry: Registry, worktree: Worktree) -> None:
        if worktree.active and not yes:
            typer.confirm(f"Remove {worktree.name} of {worktree.project_name} ({worktree.path})?", abort=True)
        await registry.remove_worktree(worktree.id)

    _change(reference, change, database_url, actor, "removed", as_json)


@app.command("git-state")
def git_state(
    reference: HereOrReference = ".",
    sync: Annotated[bool, typer.Option("--sync", help="Read everything from the work tree with git.")] = False,
    uncommitted: Files = None,
    ahead: Ahead = None,
    behind: Behind = None,
    commit: Annotated[str | None, typer.Option("--commit", help="Hash of the last commit.", show_default=False)] = None,
    message: Annotated[str | None, typer.Option("--message", help="Its message.", show_default=False)] = None,
    database_url: DatabaseUrl = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Store the git state of a worktree, as git says with --sync, or as given.

    Example: imi-registry worktree git-state --sync ~/code/engine/feat-search
    """
    from publisher.checkouts import git

    given = (uncommitted, ahead, behind, commit, message)
    if sync == any(value is not None for value in given):
        raise typer.BadParameter("give either --sync, or what is to be stored", param_hint="--sync")

    async def change(registry: Registry, worktree: Worktree) -> None:
        values = given
        if sync:
            project = await registry.get_project(worktree.project_id)
            read = git.state(Path(worktree.path), project.default_branch if project else git.FALLBACK_BRANCH)
            values = (read.uncommitted_files, read.ahead, read.behind, read.commit_hash, read.commit_message)
        await registry.update_worktree_git_state(worktree.id, None, *values)

    _change(reference, change, database_url, actor, "synced", as_json)


def _change(
    reference: str,
    change: Callable[[Registry, Worktree], Awaitable[None]],
    database_url: str | None,
    actor: str | None,
    done: str,
    as_json: bool,
) -> None:
    """Apply `change` to the worktree that is meant, and show what it is then."""
    from publisher.cli import references

    async def work(registry: Registry) -> Worktree:
        worktree = await references.worktree(registry, reference)
        await change(registry, worktree)
        return await _worktree(registry, worktree.id)

    _say(done, with_registry(work, database_url, actor), as_json)


def _say(done: str, worktree: Worktree, as_json: bool) -> None:
    if as_json:
        print(worktree.model_dump_json())
        return
    from rich.console import Console
    from rich.text import Text

    from publisher.cli.terminal import tables

    line = Text(f"{done} {worktree.name}@{worktree.project_name} ").append(tables.state(worktree))
    Console(soft_wrap=True).print(line.append(f" {worktree.id}"))


async def _worktree(registry: Registry, worktree_id: UUID) -> Worktree:
    worktree = await registry.get_worktree(worktree_id)
    if worktree is None:
        raise NotFound(f"worktree {worktree_id} was deleted meanwhile")
    return worktree
