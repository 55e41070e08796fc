"""`imi-registry host …`: the hosts on which projects are checked out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments import completion
from publisher.cli.arguments.hosts import known
from publisher.cli.arguments.options import Actor, AsJson, DatabaseUrl, ProjectReference, UpFolder, Utc, Yes
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.session import reads, settings_of, with_registry
from publisher.cli.terminal.text import emit_json, write
from registry.errors import Invalid

if TYPE_CHECKING:
    from registry.database import Registry
    from registry.models import Host, HostCounts, ProjectHost

app = typer.Typer(help="Hosts: where projects are checked out.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(metavar="HOST", help="Name, or one it had before.", autocompletion=completion.hosts),
]


@app.command("list")
@reads
def list_(database_url: DatabaseUrl = None, _state_dir: UpFolder = None, as_json: AsJson = False) -> None:
    """List hosts by name, and how much is on each. The one that IMI_HOST names is marked.

    Example: imi-registry host list
    """

    async def work(registry: Registry) -> list[HostCounts]:
        return await registry.count_hosts()

    hosts = with_registry(work, database_url)
    if as_json:
        emit_json(hosts)
        return

    from publisher.cli.terminal import tables

    here = (settings_of().host or "").lower()
    tables.print_table(
        {
            "host": [f"{host.name} (here)" if here in (host.name, *host.former_names) else host.name for host in hosts],
            "projects": [f"{host.projects:,}" for host in hosts],
            "worktrees": [f"{host.worktrees:,}" for host in hosts],
            "in flight": [f"{host.in_flight:,}" for host in hosts],
            "description": [host.description or "" for host in hosts],
            "id": tables.short_ids([host.id for host in hosts]),
        },
        empty="no hosts",
        dispensable=("id", "description"),
    )


@app.command("show")
@reads
def show(
    name: Name,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show a host, and where projects are on it.

    Example: imi-registry host show server
    """

    async def work(registry: Registry) -> tuple[Host, list[ProjectHost]]:
        host = await known(registry, name)
        return host, await registry.project_hosts(host_id=host.id)

    host, places = with_registry(work, database_url)
    if as_json:
        emit_json(host)
        return

    from publisher.cli.terminal import tables

    tables.print_details(
        {
            "name": host.name,
            "id": host.id,
            "formerly": ", ".join(host.former_names),
            "description": host.description,
            "registered": host.created_at,
            "updated": host.updated_at,
        }
    )
    tables.print_table(
        {
            "project": [place.project_name for place in places],
            "repository": [tables.slug(place.remote_origin) for place in places],
            "trunk path": [place.trunk_path for place in places],
        },
        empty="no projects",
    )


@app.command("register")
def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, dots and dashes.")],
    description: Annotated[str | None, typer.Option("--description", help="What it is.", show_default=False)] = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Register a host, which the first thing that is registered from it does as well.

    Example: imi-registry host register server --description "In the basement"
    """

    async def work(registry: Registry) -> Host:
        host_id = await registry.register_host(name)
        if description is not None:
            await registry.update_host(host_id, description=description)
        return await known(registry, name)

    _say("registered", with_registry(work, database_url, actor), as_json)


@app.command("rename")
def rename(
    name: Name,
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="New name.")],
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Rename a host. Who still calls it by the name before means it, too.

    Example: imi-registry host rename default laptop
    """

    async def work(registry: Registry) -> Host:
        await registry.update_host((await known(registry, name)).id, new_name)
        return await known(registry, new_name)

    # As from no host: this machine may have the new name already, by which it would be registered beside this one.
    _say("renamed", with_registry(work, database_url, actor, is_from_host=False), as_json)


@app.command("update")
def update(
    name: Name,
    description: Annotated[str | None, typer.Option("--description", help="What it is.", show_default=False)] = None,
    forget_machine: Annotated[
        bool, typer.Option("--forget-machine", help="Another machine has this name from now on.")
    ] = False,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a host. A machine that was set up anew is another one: forget the one before.

    Example: imi-registry host update server --forget-machine
    """
    if description is None and not forget_machine:
        raise Invalid("nothing to update: give --description or --forget-machine")

    async def work(registry: Registry) -> Host:
        host = await known(registry, name)
        await registry.update_host(host.id, description=description, machine="" if forget_machine else None)
        return await known(registry, name)

    # As from no host: this machine may be the one that is refused until the other one is forgotten.
    _say("updated", with_registry(work, database_url, actor, is_from_host=False), as_json)


@app.command("remove")
def remove(
    name: Name, yes: Yes = False, database_url: DatabaseUrl = None, _state_dir: UpFolder = None, actor: Actor = None
) -> None:
    """Remove a host that nothing is on: no worktree, also no inactive one, and no project.

    Example: imi-registry host remove server --yes
    """
    confirm(f'Remove the host "{name}"?', yes)

    async def work(registry: Registry) -> None:
        await registry.remove_host((await known(registry, name)).id)

    with_registry(work, database_url, actor, is_from_host=False)
    write(f"removed host {name}")


@app.command("leave")
def leave(
    name: Name,
    reference: ProjectReference,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
) -> None:
    """Forget that a project is on a host. Its worktrees there stay, until they are removed.

    Example: imi-registry host leave server engine
    """
    from publisher.cli.arguments import references

    async def work(registry: Registry) -> str:
        project = await references.project(registry, reference)
        await registry.displace_project(project.id, (await known(registry, name)).id)
        return project.name

    write(f"{with_registry(work, database_url, actor, is_from_host=False)} is no longer on host {name}")


def _say(change: str, host: Host, as_json: bool) -> None:
    if as_json:
        emit_json(host)
    else:
        write(f"{change} host {host.name} {host.id}")
