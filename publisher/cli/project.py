"""`imi-registry project …`: projects, one per GitHub repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.options import (
    Actor,
    AsJson,
    DatabaseUrl,
    HostOption,
    Metadata,
    ProjectReference,
    UpFolder,
    Utc,
    json_object,
    not_blank,
)
from publisher.cli.projects import activity, identity
from publisher.cli.projects.row import former_ids, found_project
from publisher.cli.servers.session import reads, with_registry
from publisher.cli.terminal.text import emit_json, write
from registry.errors import Invalid, Unusable

if TYPE_CHECKING:
    from uuid import UUID

    from registry.database import Registry
    from registry.models import Project, ProjectHost, Worktree

app = typer.Typer(no_args_is_help=True)

Branch = Annotated[str | None, typer.Option("--branch", help="Default branch.", show_default=False)]
TrunkPath = Annotated[
    str | None, typer.Option("--trunk-path", help="Where the default branch is checked out.", show_default=False)
]


@app.command("register")
def register(
    path: Annotated[
        Path | None, typer.Argument(help="A checkout to read from; default: this folder.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Default: the repository's name.", show_default=False)
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option("--origin", help="GitHub origin, ssh or https.", show_default=False, callback=not_blank),
    ] = None,
    branch: Branch = None,
    trunk_path: TrunkPath = None,
    derived_id: Annotated[
        bool | None,
        typer.Option(
            "--derived-id/--random-id",
            help="Whether a new one gets the id that follows from its origin; default: as the registry is set.",
            show_default=False,
        ),
    ] = None,
    metadata: Metadata = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Register a project. Origin, branch and path come from the checkout, unless they are given.

    A project that is known keeps its name, branch and path (project update changes them); metadata is merged.

    With --origin and no PATH no checkout is looked at.

    Example: imi-registry project register ~/code/engine
    """
    from publisher.checkouts import git
    from publisher.checkouts.origins import on_github, repository_name

    extra = json_object(metadata)
    is_given = origin is not None
    origin = None if origin is None else on_github(origin)
    if path is not None or origin is None:
        folder = path or Path()
        if not os.path.isdir(folder):  # Path raises where a name is too long
            raise Unusable(f'"{folder}": is no folder that is there; what is on GitHub is given as --origin')
        found = git.repository(folder)
        origin = found.origin if origin is None else origin
        if origin is None:
            raise Unusable(f'"{folder}": has no remote "origin"; give --origin')
        branch = found.default_branch if branch is None else branch
        trunk_path = str(found.trunk) if trunk_path is None else trunk_path

    async def work(registry: Registry) -> tuple[str, Project]:
        before = await registry.project_of_origin(origin)
        if before is not None and is_given and before.remote_origin != await registry.normalize_remote_origin(origin):
            before = None  # a former origin that is asked for by name is another project now
        new_id = None if before is not None else await _agreed_id(registry, origin, derived_id)
        project_id = await registry.register_project(
            repository_name(origin) if name is None else name,
            origin if before is None else before.remote_origin,
            "main" if branch is None else branch,
            trunk_path,
            extra,
            derived_id=derived_id,
            new_id=new_id,
        )
        after = await found_project(registry, project_id)
        if before is None:
            return "registered", after
        return "unchanged" if before == after else "updated", after

    change, project = with_registry(work, database_url, actor)
    if as_json:
        emit_json(project)
    else:
        write(f"{change} {project.name} ({project.remote_origin}) {project.id}")


async def _agreed_id(registry: Registry, origin: str, derived_id: bool | None) -> UUID | None:
    """The id that other registries have, or will have, for it; None where none is asked."""
    from publisher.settings import load

    settings = load()
    if not settings.agreement_nats_url:
        return None

    from publisher.agreement.registration import agreed_id

    is_derived = (await registry.registry_metadata()).derived_ids if derived_id is None else derived_id
    return await agreed_id(settings, origin, is_derived=is_derived, name="imi-registry project register")


@app.command("show")
@reads
def show(
    reference: ProjectReference,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show a project, which former ids lead to it, and its worktrees.

    Example: imi-registry project show engine
    """
    from publisher.cli.arguments import references
    from publisher.cli.arguments.hosts import whereabouts

    async def work(
        registry: Registry,
    ) -> tuple[Project, list[UUID], list[Worktree], list[ProjectHost], dict[UUID, str]]:
        project = await references.project(registry, reference)
        formerly = await former_ids(registry, project.id)
        worktrees = await registry.list_worktrees(project_id=project.id)
        places, hosts = await whereabouts(registry, project.id, [one.host_id for one in worktrees])
        return project, formerly, worktrees, places, hosts

    project, formerly, worktrees, places, hosts = with_registry(work, database_url)
    if as_json:
        emit_json(project)
        return

    from publisher.cli.terminal import tables

    tables.print_details(
        {
            "name": project.name,
            "id": project.id,
            "former ids": ", ".join(str(one) for one in formerly),
            "origin": project.remote_origin,
            "branch": project.default_branch,
            "trunk path": project.trunk_path,
            **{f"on {place.host_name}": place.trunk_path for place in places if hosts},
            "description": project.description,
            "metadata": project.metadata,
            "registered": project.created_at,
            "updated": project.updated_at,
            "state": "active" if project.active else "inactive",
        }
    )
    tables.print_table(
        tables.by_host([worktree.host_id for worktree in worktrees], hosts)
        | {
            "worktree": [worktree.name for worktree in worktrees],
            "branch": [worktree.branch_name for worktree in worktrees],
            "state": [tables.state(worktree) for worktree in worktrees],
            "agent": [worktree.agent_id or "" for worktree in worktrees],
        },
        empty="no active worktrees",
    )


@app.command("list")
@reads
def list_(
    host: HostOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Inactive projects too.")] = False,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    as_json: AsJson = False,
) -> None:
    """List projects by name.

    Example: imi-registry project list --json
    """
    from publisher.cli.arguments.hosts import projects_on

    found = with_registry(lambda registry: projects_on(registry, host, include_inactive=everything), database_url)
    projects = sorted(found, key=lambda project: (project.name.lower(), project.remote_origin))
    if as_json:
        emit_json(projects)
        return

    from publisher.cli.terminal import tables

    tables.print_table(
        {
            "project": [project.name if project.active else f"{project.name} (inactive)" for project in projects],
            "repository": [tables.slug(project.remote_origin) for project in projects],
            "branch": [project.default_branch for project in projects],
            "trunk path": [project.trunk_path for project in projects],
            "id": tables.short_ids([project.id for project in projects]),
        },
        empty="no projects; run: imi-registry project register",
        dispensable=("id", "trunk path"),
    )


@app.command("update")
def update(
    reference: ProjectReference,
    name: Annotated[str | None, typer.Option("--name", help="New name.", show_default=False)] = None,
    branch: Branch = None,
    trunk_path: TrunkPath = None,
    description: Annotated[str | None, typer.Option("--description", help="What it is.", show_default=False)] = None,
    origin: Annotated[
        str | None,
        typer.Option("--origin", help="Its GitHub origin after it was renamed or transferred.", show_default=False),
    ] = None,
    metadata: Metadata = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a project. Its worktrees and its history stay, also with a new origin.

    Example: imi-registry project update engine --description "The engine"
    """
    from publisher.checkouts.origins import on_github
    from publisher.cli.arguments import references

    extra = json_object(metadata)
    if all(value is None for value in (name, branch, trunk_path, origin, description, extra)):
        raise Invalid("nothing to update: give --name, --branch, --trunk-path, --origin, --description or --metadata")

    async def work(registry: Registry) -> Project:
        project = await references.project(registry, reference)
        if origin is not None:
            await registry.change_project_origin(project.id, on_github(origin))
        await registry.update_project(project.id, name, branch, trunk_path, description, extra)
        return await found_project(registry, project.id)

    project = with_registry(work, database_url, actor)
    if as_json:
        emit_json(project)
    else:
        write(f"updated {project.name} {project.id}")


app.command("deactivate")(activity.deactivate)
app.command("activate")(activity.activate)
app.command("merge")(identity.merge)
app.command("adopt-id")(identity.adopt_id)
app.command("derived-ids")(identity.derived_ids)
