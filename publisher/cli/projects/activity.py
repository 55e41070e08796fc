"""`imi-registry project deactivate` and `activate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publisher.cli.arguments.options import Actor, AsJson, DatabaseUrl, ProjectReference, UpFolder, Yes
from publisher.cli.arguments.usage import confirm
from publisher.cli.projects.row import found_project
from publisher.cli.servers.session import with_registry
from publisher.cli.terminal.text import emit_json, write

if TYPE_CHECKING:
    from registry.database import Registry
    from registry.models import Project


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
        return project, await found_project(registry, project.id)

    before, project = with_registry(work, database_url, actor)
    if as_json:
        emit_json(project)
    else:
        write(f"deactivated {project.name}" if before.active else f"{project.name} was inactive already")


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
        return project, await found_project(registry, project.id)

    before, project = with_registry(work, database_url, actor)
    if as_json:
        emit_json(project)
    else:
        write(f"{project.name} was active already" if before.active else f"activated {project.name}")
