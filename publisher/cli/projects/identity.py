"""`imi-registry project merge`, `adopt-id` and `derived-ids`: which id a project has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from publisher.cli.arguments import completion
from publisher.cli.arguments.options import Actor, AsJson, DatabaseUrl, ProjectReference, UpFolder, Yes
from publisher.cli.arguments.usage import confirm
from publisher.cli.projects.row import found_project
from publisher.cli.servers.session import with_registry
from publisher.cli.terminal.text import emit_json, write
from registry.errors import Invalid, Unusable
from registry.origin import derived_project_id

if TYPE_CHECKING:
    from registry.database import Registry
    from registry.models import Project


def merge(
    loser: Annotated[
        str,
        typer.Argument(metavar="LOSER", help="Project that goes into WINNER.", autocompletion=completion.projects),
    ],
    winner: Annotated[
        str, typer.Argument(metavar="WINNER", help="Project that goes on.", autocompletion=completion.projects)
    ],
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Make two projects one: what is of LOSER is of WINNER then, and the id of LOSER means it.

    Worktrees keep their ids, agents and activities. One whose name WINNER has is renamed, to NAME@HOST, or NAME@ and
    the first digits of the id of LOSER. There is no way back.

    Example: imi-registry project merge engine-old engine --yes
    """
    from publisher.cli.arguments import references

    async def work(registry: Registry) -> tuple[Project, Project]:
        before, into = await references.project(registry, loser), await references.project(registry, winner)
        if before.id != into.id:
            worktrees = len(await registry.list_worktrees(project_id=before.id, include_inactive=True))
            confirm(
                f"Merge {before.name} ({before.remote_origin}), with {worktrees} worktrees, "
                f"into {into.name} ({into.remote_origin})?",
                yes,
            )
        return before, await found_project(registry, await registry.merge_projects(before.id, into.id))

    before, project = with_registry(work, database_url, actor)
    if as_json:
        emit_json(project)
    elif before.id == project.id:
        write(f"{project.name} {project.id} is one project already")
    else:
        write(f"merged {before.name} {before.id} into {project.name} {project.id}")


def adopt_id(
    reference: ProjectReference,
    id_: Annotated[
        UUID | None, typer.Option("--id", help="The id it has in another registry.", show_default=False)
    ] = None,
    derived: Annotated[bool, typer.Option("--derived", help="The id that follows from its origin.")] = False,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Let a project go on under another id. The id it has now goes on to mean it.

    Example: imi-registry project adopt-id engine --derived --yes
    """
    from publisher.cli.arguments import references

    if derived == (id_ is not None):
        raise Invalid("give the id: one of --id and --derived")

    async def work(registry: Registry) -> tuple[Project, Project]:
        before = await references.project(registry, reference)
        wanted = id_ or derived_project_id(before.remote_origin)
        if wanted is None:  # an older release stored it, by other rules
            raise Unusable(f'"{before.remote_origin}": is not owner/repo on GitHub; give --id')
        if before.id != wanted:
            confirm(f"Let {before.name} ({before.remote_origin}) go on under the id {wanted}?", yes)
        return before, await found_project(registry, await registry.adopt_project_id(before.id, wanted))

    before, project = with_registry(work, database_url, actor)
    if as_json:
        emit_json(project)
    elif before.id == project.id:
        write(f"{project.name} has the id {project.id} already")
    else:
        write(f"{project.name} is {project.id} now; {before.id} goes on to mean it")


def derived_ids(
    setting: Annotated[
        str | None, typer.Argument(help="on or off; default: say what it is.", show_default=False, metavar="[on|off]")
    ] = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Whether new projects of this registry get the id that follows from their origin, unless a caller says.

    Projects that are there keep their ids: project adopt-id --derived.

    Example: imi-registry project derived-ids on
    """
    if setting not in (None, "on", "off"):
        raise typer.BadParameter("must be on or off", param_hint="[on|off]")

    async def work(registry: Registry) -> bool:
        if setting is not None:
            await registry.derive_project_ids(setting == "on")
        return (await registry.registry_metadata()).derived_ids

    is_on = with_registry(work, database_url, actor)
    if as_json:
        emit_json({"derived_ids": is_on})
    else:
        write(f"ids of new projects are {'derived from their origins' if is_on else 'random'}, unless a caller says")
