"""`imi-registry type …`: worktree types, and the prefixes by which they are recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments import completion
from publisher.cli.arguments.options import Actor, AsJson, DatabaseUrl, Metadata, UpFolder, Yes, json_object
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.session import reads, with_registry
from publisher.cli.terminal.text import emit_json, write
from registry.errors import Invalid, NotFound

if TYPE_CHECKING:
    from registry.database import Registry
    from registry.models import WorktreeType

app = typer.Typer(no_args_is_help=True)

NewName = Annotated[str, typer.Argument(metavar="TYPE", help="Name of the type.")]
Name = Annotated[str, typer.Argument(metavar="TYPE", help="Name of the type.", autocompletion=completion.types)]
Description = Annotated[str | None, typer.Option("--description", help="What it is for.", show_default=False)]
Color = Annotated[str | None, typer.Option("--color", help="Such as #10B981.", show_default=False)]
Icon = Annotated[str | None, typer.Option("--icon", help="An emoji.", show_default=False)]


@app.command("add")
def add(
    name: NewName,
    branch_prefix: Annotated[
        str | None, typer.Option("--branch-prefix", help="Default: NAME/.", show_default=False)
    ] = None,
    worktree_prefix: Annotated[
        str | None, typer.Option("--worktree-prefix", help="Default: NAME-.", show_default=False)
    ] = None,
    description: Description = None,
    color: Color = None,
    icon: Icon = None,
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

    _say(with_registry(work, database_url, actor), as_json)


@app.command("list")
@reads
def list_(database_url: DatabaseUrl = None, _state_dir: UpFolder = None, as_json: AsJson = False) -> None:
    """List the worktree types.

    Example: imi-registry type list
    """
    from rich.text import Text

    async def work(registry: Registry) -> list[WorktreeType]:
        return await registry.list_worktree_types()

    types = with_registry(work, database_url)
    if as_json:
        emit_json(types)
        return

    from publisher.cli.terminal import tables

    tables.print_table(
        {
            "type": [Text(kind.name, tables.style_of(kind.color)) for kind in types],
            "branch": [f"{kind.branch_prefix}…" for kind in types],
            "folder": [f"{kind.worktree_prefix}…" for kind in types],
            "description": [kind.description or "" for kind in types],
            "": ["built in" if kind.is_builtin else "" for kind in types],
        },
        empty="no worktree types",
        dispensable=("description", ""),
    )


@app.command("update")
def update(
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", help="New name.", show_default=False)] = None,
    branch_prefix: Annotated[
        str | None, typer.Option("--branch-prefix", help="What its branches begin with.", show_default=False)
    ] = None,
    worktree_prefix: Annotated[
        str | None, typer.Option("--worktree-prefix", help="What its folders begin with.", show_default=False)
    ] = None,
    description: Description = None,
    color: Color = None,
    icon: Icon = None,
    metadata: Metadata = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a worktree type. A built-in one keeps its name and prefixes.

    Example: imi-registry type update docs --color "#0EA5E9"
    """
    extra = json_object(metadata)
    if all(value is None for value in (new_name, branch_prefix, worktree_prefix, description, color, icon, extra)):
        raise Invalid(
            "nothing to update: give --name, --branch-prefix, --worktree-prefix, --description, --color, --icon"
            " or --metadata"
        )

    async def work(registry: Registry) -> WorktreeType:
        await registry.update_worktree_type(
            name, new_name, branch_prefix, worktree_prefix, description, color, icon, extra
        )
        known = {kind.name: kind for kind in await registry.list_worktree_types()}
        after = known.get(new_name or name)
        if after is None:
            raise NotFound(f'worktree type "{new_name or name}" was removed or renamed meanwhile')
        return after

    _say(with_registry(work, database_url, actor), as_json)


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


def _say(kind: WorktreeType, as_json: bool) -> None:
    if as_json:
        emit_json(kind)
    else:
        write(f"type {kind.name}: {kind.branch_prefix}… in {kind.worktree_prefix}…")
