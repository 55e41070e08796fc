"""`imi-registry activity …`: the audit log of what agents did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments import completion
from publisher.cli.arguments.options import (
    Actor,
    AsJson,
    DatabaseUrl,
    Metadata,
    ProjectOption,
    UpFolder,
    Utc,
    json_object,
    not_blank,
)
from publisher.cli.servers.session import acting_as, reads, with_registry
from publisher.cli.terminal.text import emit_json, write

if TYPE_CHECKING:
    from uuid import UUID

    from registry.database import Registry
    from registry.models import Activity

MOST_ROWS = 2**31 - 1

app = typer.Typer(no_args_is_help=True)


@app.command("log")
def log(
    activity_type: Annotated[str, typer.Argument(metavar="TYPE", help="created, modified, committed … other.")],
    description: Annotated[str, typer.Argument(help="What was done.")],
    worktree: Annotated[
        str,
        typer.Option(
            "--worktree",
            help="Path, name, NAME@PROJECT, or id; default: here.",
            show_default=False,
            autocompletion=completion.worktrees,
        ),
    ] = ".",
    agent: Annotated[
        str | None, typer.Option("--agent", help="Who did it; default: the actor.", show_default=False)
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", help="The file it was about.", show_default=False, callback=not_blank)
    ] = None,
    metadata: Metadata = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Append to the log; prints the id of the activity.

    Example: imi-registry activity log modified "Search is fuzzy" --file src/search.py
    """
    from publisher.cli.arguments import references

    extra = json_object(metadata)

    async def work(registry: Registry) -> UUID:
        where = await references.worktree(registry, worktree)
        return await registry.log_activity(acting_as(agent, actor), where.id, activity_type, description, file, extra)

    activity_id = with_registry(work, database_url, actor)
    if as_json:
        emit_json({"activity_id": activity_id})
    else:
        write(str(activity_id))


@app.command("list")
@reads
def list_(
    agent: Annotated[str | None, typer.Option("--agent", help="Only of this agent.", show_default=False)] = None,
    worktree: Annotated[
        str | None,
        typer.Option(
            "--worktree", help="Only in this worktree.", show_default=False, autocompletion=completion.worktrees
        ),
    ] = None,
    project: ProjectOption = None,
    limit: Annotated[int, typer.Option("--limit", help="Most rows.", min=1, max=MOST_ROWS)] = 20,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """List the latest activities, newest first.

    Example: imi-registry activity list --agent ada --limit 5
    """
    from publisher.cli.arguments import references
    from publisher.cli.arguments.times import printed

    async def work(registry: Registry) -> list[Activity]:
        where = await references.worktree(registry, worktree) if worktree else None
        inside = await references.project(registry, project) if project else None
        return await registry.list_activities(
            agent_id=agent,
            worktree_id=where.id if where else None,
            project_id=inside.id if inside else None,
            limit=limit,
        )

    activities = with_registry(work, database_url)
    if as_json:
        emit_json(activities)
        return

    from publisher.cli.terminal import tables

    tables.print_table(
        {
            "when": [printed(activity.created_at) for activity in activities],
            "agent": [activity.agent_id for activity in activities],
            "what": [activity.activity_type for activity in activities],
            "where": [f"{activity.worktree_name or '?'}@{activity.project_name or '?'}" for activity in activities],
            "description": [
                " ".join(filter(None, (activity.description, activity.file_path))) for activity in activities
            ],
        },
        empty="no activities",
        dispensable=("agent", "what", "when"),
    )
