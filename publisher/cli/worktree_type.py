"""`imi-registry type …`: worktree types, and the prefixes by which they are recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.options import Actor, AsJson, DatabaseUrl, Metadata, UpFolder, Yes, json_object
from publisher.cli.session import with_registry
from publisher.cli.terminal.text import emit, write
from publisher.cli.usage import confirm

if TYPE_CHECKING:
    from registry.database import Registry
    from registry.models import WorktreeType

app = typer.Typer(help="Worktree types: feat, fix, and your own.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="TYPE", help="Name of the type.")]


@app.command("add")
def add(
    name: Name,
    branch_prefix: Annotated[
        str | None, typer.Option("--branch-prefix", help="Default: NAME/.", show_default=False)
    ] = None,
    worktree_prefix: Annotated[
        str | None, typer.Option("--worktree-prefix", help="Default: NAME-.", show_default=False)
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", help="What it is for.", show_default=False)
    ] = None,
    color: Annotated[str | None, typer.Option("--color", help="Such as #10B981.", show_default=False)] = None,
    icon: Annotated[str | None, typer.Option("--icon", help="An emoji.", show_default=False)] = None,
    metadata: Metadata = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Add a worktree type.

    Example: imi-registry type add docs --description "Documentation"
    """
    extra = json_object(metadata)

    async def work(registry: Registry) -> WorktreeType:
        type_id = await registry.add_worktree_type(
            name, branch_prefix, worktree_prefix, description, color, icon, extra
        )
        return next(kind for kind in await registry.list_worktree_types() if kind.id == type_id)

    added = with_registry(work, database_url, actor)
    if as_json:
        emit(added.model_dump_json())
    else:
        write(f"type {added.name}: {added.branch_prefix}… in {added.worktree_prefix}…")


@app.command("list")
def list_(database_url: DatabaseUrl = None, _state_dir: UpFolder = None, as_json: AsJson = False) -> None:
    """List the worktree types.

    Example: imi-registry type list
    """
    from rich.text import Text

    from publisher.cli.terminal import tables

    async def work(registry: Registry) -> list[WorktreeType]:
        return await registry.list_worktree_types()

    types = with_registry(work, database_url)
    if as_json:
        tables.print_json(types)
        return
    tables.print_table(
        {
            "type": [Text(kind.name, tables.style_of(kind.color)) for kind in types],
            "branch": [f"{kind.branch_prefix}…" for kind in types],
            "folder": [f"{kind.worktree_prefix}…" for kind in types],
            "description": [kind.description or "" for kind in types],
            "": ["built in" if kind.is_builtin else "" for kind in types],
        },
        empty="no worktree types",
    )


@app.command("remove")
def remove(
    name: Name, yes: Yes = False, database_url: DatabaseUrl = None, _state_dir: UpFolder = None, actor: Actor = None
) -> None:
    """Remove a worktree type that no worktree has.

    Example: imi-registry type remove docs --yes
    """
    confirm(f'Remove the worktree type "{name}"?', yes)

    async def work(registry: Registry) -> None:
        await registry.remove_worktree_type(name)

    with_registry(work, database_url, actor)
    write(f"removed type {name}")
