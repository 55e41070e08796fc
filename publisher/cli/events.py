"""`imi-registry events …`: the change feed, live and past."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from publisher.cli import archive, dead_letters
from publisher.cli.arguments import completion
from publisher.cli.arguments.options import MOST, AsJson, NatsUrl, UpFolder, Utc
from publisher.cli.servers.session import located, registry_client, run
from publisher.cli.terminal.text import console, emit_document, emit_json, line_printer, say, write
from publisher.text import json_line

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from publisher.settings import Settings
    from registry.client import RegistryClient
    from registry.client.lookup import FoundEvent


app = typer.Typer(no_args_is_help=True)


class Pace(StrEnum):
    """How fast a replay goes."""

    fast = "fast"
    original = "original"


Project = Annotated[
    str | None,
    typer.Option(
        "--project",
        help="Only events of this project: name, origin or id.",
        show_default=False,
        autocompletion=completion.projects,
    ),
]
Entity = Annotated[str | None, typer.Option("--entity", help="Only project, worktree, activity …", show_default=False)]
Host = Annotated[
    str | None,
    typer.Option(
        "--host", help="Only events of this host, by name or id.", show_default=False, autocompletion=completion.hosts
    ),
]
Action = Annotated[str | None, typer.Option("--action", help="Only registered, merged …", show_default=False)]


@app.command("tail")
def tail(
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
    project: Project = None,
    entity: Entity = None,
    action: Action = None,
    host: Host = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show events as they arrive, until Ctrl-C. With --json one envelope a line.

    Example: imi-registry events tail --entity worktree --action merged
    """
    from publisher.cli.terminal.lines import line_of
    from registry.events.actions import check_filter

    check_filter(entity, action, None)
    settings = _settings(nats_url)
    out = console()
    show = line_printer(out)

    async def follow() -> None:
        async with (
            registry_client(settings, "events tail") as client,
            client.tail(
                entity=entity, action=action, project_id=await _project_id(client, project), host=host
            ) as events,
        ):
            async for event in events:
                if as_json:
                    emit_document(json_line(event.payload))
                else:
                    show(line_of(event.payload, width=out.width))

    run(follow())


@app.command("replay")
def replay(
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="From the first event; the default.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", help="What occurred since a time: ISO 8601, or 30m, 2h, 7d ago.")
    ] = None,
    from_sequence: Annotated[
        int | None, typer.Option("--from-sequence", help="From this sequence of the stream.", min=1, max=MOST)
    ] = None,
    last: Annotated[int | None, typer.Option("--last", help="The last so many that match.", min=1, max=MOST)] = None,
    after: Annotated[str | None, typer.Option("--after", help="Behind the token of an earlier replay.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Up to a sequence, or before a time.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on into live events, until Ctrl-C.")] = False,
    project: Project = None,
    entity: Entity = None,
    action: Action = None,
    worktree: Annotated[
        str | None,
        typer.Option(
            "--worktree",
            help="Only events of this worktree: path, name, NAME@PROJECT, or id.",
            show_default=False,
            autocompletion=completion.worktrees,
        ),
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only events that name this agent.")] = None,
    correlation: Annotated[str | None, typer.Option("--correlation", help="Only this correlation id.")] = None,
    host: Host = None,
    pace: Annotated[Pace, typer.Option("--pace", help="As fast as possible, or as it happened.")] = Pace.fast,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Tell the history, in the order in which it was published. With --json one envelope a line.

    Ends when caught up, unless --follow. What the stream no longer holds comes from the database, by way of the
    publisher.

    Example: imi-registry events replay --since 2h --entity worktree --json
    """
    from publisher.cli.arguments.places import end, start
    from publisher.cli.terminal import replay as replaying
    from registry.events.filter import EventFilter

    wanted: dict[str, Any] = {
        "entity": entity,
        "action": action,
        "agent_id": agent,
        "correlation_id": correlation,
    }
    begin = start(from_start, since, from_sequence, last, after)
    stop = end(until, follow)
    EventFilter.of(**wanted)
    settings = _settings(nats_url)

    async def work() -> str | None:
        async with registry_client(settings, "events replay") as client:
            ids = {
                "project_id": await _project_id(client, project),
                "worktree_id": await _worktree_id(client, worktree),
                "host": host,
            }
            total = await _total(client, stop)
            async with client.replay(begin, follow=follow, until=stop, **ids, **wanted) as events:
                told = replaying.at_original_pace(events) if pace is Pace.original else events
                return await replaying.show(told, as_json=as_json, follow=follow, total=total)

    token = run(work())
    if as_json:
        return
    say("no event matches" if token is None else f"continue with: --after {token}")


@app.command("snapshot")
def snapshot(nats_url: NatsUrl = None, _state_dir: UpFolder = None, as_json: AsJson = False) -> None:
    """Show the state of the registry as of one position of the history.

    With --json all of it, and the token with which `events replay --after` tells what happened since.

    Example: imi-registry events snapshot --json
    """
    settings = _settings(nats_url)

    async def work() -> dict[str, Any]:
        async with registry_client(settings, "events snapshot") as client:
            taken = await client.snapshot()
        tables: dict[str, dict[Any, Any]] = {
            "projects": taken.projects,
            "worktrees": taken.worktrees,
            "types": taken.types,
        }
        return {"position": str(taken.position)} | {
            name: [row.model_dump() for row in rows.values()] for name, rows in tables.items()
        }

    state = run(work())
    if as_json:
        emit_json(state)
        return
    for name in ("projects", "worktrees", "types"):
        write(f"{len(state[name]):>9,} {name}")
    write(f"what happened since: imi-registry events replay --after {state['position']}")


@app.command("show")
def show(
    reference: Annotated[str, typer.Argument(metavar="EVENT", help="Its id, or its sequence in the stream.")],
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show one event: where it is, the headers of its message, the whole envelope.

    What the stream no longer holds comes from the database, by way of the publisher.

    Example: imi-registry events show 17 --json
    """
    from publisher.cli.arguments.places import event
    from publisher.cli.terminal import event as terminal
    from publisher.settings import profile_of

    wanted = event(reference)
    settings = _settings(nats_url)

    async def work() -> FoundEvent:
        async with registry_client(settings, "events show") as client:
            return await client.event(wanted)

    terminal.show(run(work()), profile_of(settings).event_stream, as_json=as_json)


app.add_typer(dead_letters.app, name="dead-letters")
app.command("export")(archive.export)
app.command("import")(archive.import_)


def _settings(nats_url: str | None) -> Settings:
    return located("nats_url", nats_url=nats_url)


async def _project_id(client: RegistryClient, reference: str | None) -> UUID | None:
    if reference is None:
        return None
    from publisher.cli.arguments import references_over_nats

    return await references_over_nats.project_id(client, reference)


async def _worktree_id(client: RegistryClient, reference: str | None) -> UUID | None:
    if reference is None:
        return None
    from publisher.cli.arguments import references_over_nats

    return await references_over_nats.worktree_id(client, reference)


async def _total(client: RegistryClient, end: datetime | int | None) -> int:
    """Sequence of the last event to come, for the progress bar; 0 when no bar will be shown."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        return 0
    last = await client.last_sequence()
    return min(last, end) if isinstance(end, int) else last
