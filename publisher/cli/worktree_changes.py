"""What is done with a registered worktree: `update`, `claim`, `release`, `merge`, `remove`, `git-state`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments import completion
from publisher.cli.arguments.folders import absolute
from publisher.cli.arguments.options import (
    Actor,
    Agent,
    AsJson,
    DatabaseUrl,
    HereOrReference,
    Metadata,
    UpFolder,
    WorktreeReference,
    Yes,
    json_object,
)
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.session import acting_as, with_registry
from publisher.cli.terminal.text import console, emit_json, safe
from registry.errors import Invalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from registry.database import Registry
    from registry.models import Worktree

MOST = 2**31 - 1

Files = Annotated[
    int | None, typer.Option("--uncommitted", help="Files not committed.", min=0, max=MOST, show_default=False)
]
Ahead = Annotated[
    int | None, typer.Option("--ahead", help="Commits the trunk lacks.", min=0, max=MOST, show_default=False)
]
Behind = Annotated[
    int | None, typer.Option("--behind", help="Commits of the trunk it lacks.", min=0, max=MOST, show_default=False)
]


def update(
    reference: WorktreeReference,
    name: Annotated[
        str | None, typer.Option("--name", help="New name, unique in its project.", show_default=False)
    ] = None,
    branch: Annotated[str | None, typer.Option("--branch", help="Git branch.", show_default=False)] = None,
    path: Annotated[str | None, typer.Option("--path", help="Where the work tree is now.", show_default=False)] = None,
    type_name: Annotated[
        str | None,
        typer.Option("--type", help="Worktree type.", show_default=False, autocompletion=completion.types),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", help="The host that it is on, by name.", show_default=False, autocompletion=completion.hosts
        ),
    ] = None,
    metadata: Metadata = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a worktree.

    Example: imi-registry worktree update feat-search@engine --path ~/code/engine/feat-find --branch feat/find
    """
    from publisher.cli.arguments.hosts import known

    extra = json_object(metadata)
    if all(value is None for value in (name, branch, path, type_name, host, extra)):
        raise Invalid("nothing to update: give --name, --branch, --path, --type, --host or --metadata")
    new_path = str(absolute(Path(path))) if path else path  # an empty one is refused, not here

    async def change(registry: Registry, worktree: Worktree) -> None:
        if host is not None:
            await registry.move_worktree(worktree.id, (await known(registry, host)).id)
        await registry.update_worktree(worktree.id, name, branch, new_path, type_name, extra)

    _change(
        reference,
        change,
        database_url,
        actor,
        "updated",
        as_json,
    )


def claim(
    reference: HereOrReference = ".",
    agent: Agent = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Claim a worktree for an agent (default: the actor). Refused while another agent holds it.

    Example: imi-registry worktree claim feat-search@engine --agent ada
    """
    holder = acting_as(agent, actor)
    _change(
        reference,
        lambda registry, worktree: registry.claim_worktree(worktree.id, holder),
        database_url,
        actor,
        "claimed",
        as_json,
    )


def release(
    reference: HereOrReference = ".",
    agent: Agent = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Release a worktree from its agent. With --agent it is refused when another agent holds it.

    Example: imi-registry worktree release feat-search@engine
    """
    _change(
        reference,
        lambda registry, worktree: registry.release_worktree(worktree.id, agent),
        database_url,
        actor,
        "released",
        as_json,
    )


def merge(
    reference: WorktreeReference,
    commit: Annotated[str, typer.Argument(help="Hash of the merge commit.")],
    merged_by: Annotated[
        str | None, typer.Option("--by", help="Who merged it; default: the actor.", show_default=False)
    ] = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Record that a worktree was merged; it is inactive then.

    Example: imi-registry worktree merge feat-search@engine 1f0c2d3 --by ada
    """
    by = acting_as(merged_by, actor)

    async def change(registry: Registry, worktree: Worktree) -> None:
        await registry.mark_worktree_merged(worktree.id, by, commit)

    _change(reference, change, database_url, actor, "merged", as_json)


def remove(
    reference: WorktreeReference,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Remove a worktree from the registry; its files stay. Registering it again brings it back.

    Example: imi-registry worktree remove feat-search@engine --yes
    """

    async def change(registry: Registry, worktree: Worktree) -> None:
        if worktree.active:
            confirm(f"Remove {worktree.name} of {worktree.project_name} ({worktree.path})?", yes)
        await registry.remove_worktree(worktree.id)

    _change(reference, change, database_url, actor, "removed", as_json)


def git_state(
    reference: HereOrReference = ".",
    sync: Annotated[bool, typer.Option("--sync", help="Read everything from the work tree with git.")] = False,
    uncommitted: Files = None,
    ahead: Ahead = None,
    behind: Behind = None,
    commit: Annotated[str | None, typer.Option("--commit", help="Hash of the last commit.", show_default=False)] = None,
    message: Annotated[str | None, typer.Option("--message", help="Its message.", show_default=False)] = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Store the git state of a worktree, as git says with --sync, or as given.

    Example: imi-registry worktree git-state --sync ~/code/engine/feat-search
    """
    from publisher.checkouts import git, trunk

    given = (uncommitted, ahead, behind, commit, message)
    if sync == any(value is not None for value in given):
        raise typer.BadParameter("give either --sync, or what is to be stored", param_hint="--sync")

    async def change(registry: Registry, worktree: Worktree) -> None:
        values = given
        if sync:
            project = await registry.get_project(worktree.project_id)
            read = git.state(Path(worktree.path), project.default_branch if project else trunk.FALLBACK_BRANCH)
            values = (read.uncommitted_files, read.ahead, read.behind, read.told_hash, read.commit_message)
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
    from publisher.cli.arguments import references

    async def work(registry: Registry) -> Worktree:
        worktree = await references.worktree(registry, reference)
        await change(registry, worktree)
        return await found(registry, worktree.id)

    say_changed(done, with_registry(work, database_url, actor), as_json)


def say_changed(done: str, worktree: Worktree, as_json: bool) -> None:
    if as_json:
        emit_json(worktree)
        return
    from publisher.cli.terminal import tables

    line = safe(f"{done} {worktree.name}@{worktree.project_name} ").append(tables.state(worktree))
    console().print(line.append(f" {worktree.id}"), soft_wrap=True)


async def found(registry: Registry, worktree_id: UUID) -> Worktree:
    worktree = await registry.get_worktree(worktree_id)
    if worktree is None:
        raise NotFound(f"worktree {worktree_id} was deleted meanwhile")
    return worktree
