"""`imi-registry project …`: projects, one per GitHub repository."""

from __future__ import annotations

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
    Yes,
    json_object,
)
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.session import with_registry
from publisher.cli.terminal.text import emit_json, write
from registry.errors import Invalid, NotFound, Unusable

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
        str | None, typer.Option("--origin", help="GitHub origin, ssh or https.", show_default=False)
    ] = None,
    branch: Branch = None,
    trunk_path: TrunkPath = None,
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
    from publisher.checkouts.origins import repository_name

    extra = json_object(metadata)
    if origin is not None and not origin.strip():
        raise typer.BadParameter("is blank", param_hint="--origin")
    is_given = origin is not None
    if path is not None or origin is None:
        folder = path or Path()
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
        project_id = await registry.register_project(
            repository_name(origin) if name is None else name,
            origin if before is None else before.remote_origin,
            "main" if branch is None else branch,
            trunk_path,
            extra,
        )
        after = await _project(registry, project_id)
        if before is None:
            return "registered", after
        return "unchanged" if before == after else "updated", after

    change, project = with_registry(work, database_url, actor)
    if as_json:
        emit_json(project)
    else:
        write(f"{change} {project.name} ({project.remote_origin}) {project.id}")


@app.command("show")
def show(
    reference: ProjectReference,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show a project and its worktrees.

    Example: imi-registry project show engine
    """
    from publisher.cli.arguments import references
    from publisher.cli.arguments.hosts import whereabouts

    async def work(registry: Registry) -> tuple[Project, list[Worktree], list[ProjectHost], dict[UUID, str]]:
        project = await references.project(registry, reference)
        worktrees = await registry.list_worktrees(project_id=project.id)
        return project, worktrees, *await whereabouts(registry, project.id, [one.host_id for one in worktrees])

    project, worktrees, places, hosts = with_registry(work, database_url)
    if as_json:
        emit_json(project)
        return

    from publisher.cli.terminal import tables

    tables.print_details(
        {
            "name": project.name,
            "id": project.id,
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
    from publisher.cli.arguments import references

    extra = json_object(metadata)
    if all(value is None for value in (name, branch, trunk_path, origin, description, extra)):
        raise Invalid("nothing to update: give --name, --branch, --trunk-path, --origin, --description or --metadata")

    async def work(registry: Registry) -> Project:
        project = await references.project(registry, reference)
        if origin is not None:
            await registry.change_project_origin(project.id, origin)
        await registry.update_project(project.id, name, branch, trunk_path, description, extra)
        return await _project(registry, project.id)

    project = with_registry(work, database_url, actor)
    if as_json:
        emit_json(project)
    else:
        write(f"updated {project.name} {project.id}")


@app.command("deactivate")
def deactivate(
    reference: ProjectReference,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Deactivate a project and its worktrees. `project activate` brings the project back, not the worktrees.

    Example: imi-registry project deactivate engine --yes
    """
    from publisher.cli.arguments import references

    async def work(registry: Registry) -> tuple[Project, Project]:
        project = await references.project(registry, reference)
        if project.active:
            worktrees = len(await registry.list_worktrees(project_id=project.id))
            confirm(f"Deactivate {project.name} ({project.remote_origin}) and its worktrees ({worktrees})?", yes)
        await registry.deactivate_project(project.id)
        return project, await _project(registry, project.id)

    before, project = with_registry(work, database_url, actor)
    if as_json:
        emit_json(project)
    else:
        write(f"deactivated {project.name}" if before.active else f"{project.name} was inactive already")


@app.command("activate")
def activate(
    reference: ProjectReference,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Bring a deactivated project back. Its worktrees stay removed until they are registered again.

    Example: imi-registry project activate engine
    """
    from publisher.cli.arguments import references

    async def work(registry: Registry) -> tuple[Project, Project]:
        project = await references.project(registry, reference)
        if not project.active:
            await registry.register_project(
                project.name, project.remote_origin, project.default_branch, project.trunk_path
            )
        return project, await _project(registry, project.id)

    before, project = with_registry(work, database_url, actor)
    if as_json:
        emit_json(project)
    else:
        write(f"{project.name} was active already" if before.active else f"activated {project.name}")


async def _project(registry: Registry, project_id: UUID) -> Project:
    project = await registry.get_project(project_id)
    if project is None:
        raise NotFound(f"project {project_id} was deleted meanwhile")
    return project
