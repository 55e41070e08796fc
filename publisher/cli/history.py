"""`imi-registry history …`, `rebuild-stream` and `doctor`: what happened to one thing, and whether all is told."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments import completion
from publisher.cli.arguments.options import AsJson, DatabaseUrl, NatsUrl, StateDir, UpFolder, Utc
from publisher.cli.servers.installation import installation
from publisher.cli.servers.session import checked_schema, located_schema, reads, run
from publisher.cli.terminal.progress import progress
from publisher.cli.terminal.text import emit_document, say, write
from registry.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from publisher.doctor import Finding
    from publisher.settings import Settings

app = typer.Typer(no_args_is_help=True)

PROBLEMS = 1


class Entity(StrEnum):
    """What has a history of its own."""

    project = "project"
    worktree = "worktree"


@app.command("show")
@reads
def show(
    entity: Annotated[Entity, typer.Argument(help="Kind of thing.")],
    id_: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Its id, also when it is deleted; or name, origin, path.",
            autocompletion=completion.entities,
        ),
    ],
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Its state at a time: ISO 8601, or 30m, 2h, 7d ago.")
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Each changed field, before and after.")] = False,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show what changed, when, by whom and by which command; or with --as-of the state at a time.

    Example: imi-registry history show worktree 9a7e6c1e-0d52-4f5e-8a5b-3a1d2b6f7c10 --diff
    """
    from publisher.cli.arguments import references
    from publisher.cli.arguments.times import moment
    from publisher.cli.terminal import timeline as timeline_view
    from publisher.history import timeline

    if as_of is not None and diff:
        raise Invalid("--as-of shows a state, --diff changes: give one of them")
    settings = _settings(database_url)

    async def work() -> timeline.Timeline:
        database_url = settings.database_url or ""
        meant = await references.history_id(database_url, entity.value, id_)
        return await timeline.read(database_url, entity.value, meant)

    found = run(work())
    if as_of is not None:
        timeline_view.state(found.as_of(moment(as_of)), as_json=as_json)
    else:
        timeline_view.changes(found, diff=diff, as_json=as_json)


@app.command("verify")
@reads
def verify(database_url: DatabaseUrl = None, _state_dir: UpFolder = None, as_json: AsJson = False) -> None:
    """Build projects, worktrees and types from the events alone, and compare them with the tables.

    Example: imi-registry history verify
    """
    import json

    from publisher.history import verification

    settings = _settings(database_url)
    found = run(verification.verify(settings))
    if as_json:
        emit_document(json.dumps(found.as_dict()))
    else:
        for name, count in found.equal.items():
            write(f"{count:>9,} {name} are what the events tell")
        if found.unknown:
            write(f"{found.unknown:>9,} rows have no event that is kept: built-in types, or older than retention")
        for line in found.differences:
            say(line)
    if found.differences:
        raise typer.Exit(PROBLEMS)


@app.command("audit")
@reads
def audit(
    database_url: DatabaseUrl = None, nats_url: NatsUrl = None, _state_dir: UpFolder = None, as_json: AsJson = False
) -> None:
    """Read the whole stream and compare it with the outbox: what is lost, doubled, reordered. All may go on.

    Example: imi-registry history audit
    """
    import json

    from publisher.history import audit as comparison

    settings = located_schema(database_url, "nats_url", nats_url=nats_url)
    found = run(comparison.audit(settings))
    if as_json:
        emit_document(json.dumps(found.as_dict()))
    else:
        write(f"{found.events:>9,} events of the outbox are published, {found.trimmed:,} no longer in the stream")
        write(f"{found.messages:>9,} messages in {found.stream}, {found.foreign:,} of them of somebody else")
        for name, faults in (("lost", found.lost), ("doubled", found.doubled), ("reordered", found.reordered)):
            write(f"{faults.count:>9,} {name}")
            for fault in faults.first:
                where = f", sequence {fault.sequence}" if fault.sequence else ""
                say(f"{name}: event {fault.outbox_id} ({fault.event}) of {fault.occurred_at}{where}")
    if not found.is_clean:
        raise typer.Exit(PROBLEMS)


def rebuild_stream(
    state_dir: StateDir = Path(".imi"), database_url: DatabaseUrl = None, nats_url: NatsUrl = None
) -> None:
    """Publish a stream that was deleted, or restored from an older backup, again from the database.

    The same events under the same ids, order and sequences. Stop `up` or `serve` first; writers may go on. The servers
    of `up` are started for it. Durable consumers were deleted with the stream: let each be created again with its last
    acknowledged sequence + 1 as start.

    Example: imi-registry rebuild-stream --state-dir ~/.imi
    """
    from publisher.history import rebuild as history

    with (
        installation(state_dir, "database_url", "nats_url", database_url=database_url, nats_url=nats_url) as settings,
        progress("events") as tell,
    ):
        located_schema(settings.database_url)
        done = run(history.rebuild(settings, tell))
    write(f"stream {done.stream}: {done.events:,} events published, {done.first_sequence} to {done.last_sequence}")
    if settings.profile == "bloodbank":
        write("sequences are new: let durable consumers start from a time or a snapshot, replays from a snapshot")
    else:
        write("sequences are the old ones: create each durable consumer again, to start at its last acknowledged + 1")


@reads
def doctor(
    state_dir: StateDir = Path(".imi"),
    database_url: DatabaseUrl = None,
    nats_url: NatsUrl = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every two seconds, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look whether database, stream and history fit together, and say what to do where they do not.

    The servers of an `up` that does not run are started for it. With --watch and --json one look a line.

    Example: imi-registry doctor --watch
    """
    from publisher import doctor as examination

    with installation(state_dir, "database_url", "nats_url", database_url=database_url, nats_url=nats_url) as settings:
        checked_schema(settings)
        if watch:
            run(_watch(settings, as_json=as_json), tells_blockers=False)
            return
        findings = run(examination.examine(settings), tells_blockers=False)
    if as_json:
        _emit(findings)
    else:
        for finding in findings:
            write(_line(finding))
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(PROBLEMS)


@reads
def phantoms(
    compensate: Annotated[
        bool, typer.Option("--compensate", help="Write events that tell consumers how those rows are now.")
    ] = False,
    state_dir: StateDir = Path(".imi"),
    database_url: DatabaseUrl = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """List events that consumers saw and the database does not hold, as after a failover to a replica that lagged.

    With --compensate each row of which they told gets one event more: as it is now, or deleted where it is not there;
    after a TRUNCATE, each row that is there. What was logged, and outcomes of commands, cannot be taken back. A second
    run writes nothing more.

    Example: imi-registry phantoms --compensate
    """
    from publisher.history import compensation
    from registry import exact

    with installation(state_dir, "database_url", "nats_url", database_url=database_url, nats_url=nats_url) as settings:
        located_schema(settings.database_url)
        found, done = run(compensation.run(settings, compensate=compensate))
    if as_json:
        written = {one.phantom.event_id: one.event for one in done}
        lines = [{**phantom._asdict(), "compensated_by": written.get(phantom.event_id)} for phantom in found]
        emit_document(exact.dumps(lines).decode())
        return
    for phantom in found:
        write(f"{phantom.sequence:>9} {phantom.time} {phantom.entity}.{phantom.action} {phantom.row or ''}".rstrip())
    for one in done:
        write(
            f"event {one.phantom.sequence} is taken back by {one.event}" if one.event else _kept(one.phantom.sequence)
        )
    if not found:
        write("the database holds every event of the stream")


def _kept(sequence: int) -> str:
    return f"event {sequence} is not taken back: that the row is gone is so, or what it was is not known"


async def _watch(settings: Settings, *, as_json: bool) -> None:
    """Look again and again; a server that is away is what is found then."""
    from publisher.cli.terminal.text import safe
    from publisher.cli.terminal.watching import repeated, watched
    from publisher.doctor import Finding, examine

    async def look() -> list[Finding]:
        try:
            return await examine(settings)
        except Unavailable as error:
            return [Finding(False, str(error))]

    async def show() -> RenderableType:
        from rich.console import Group

        return Group(*[safe(_line(finding)) for finding in await look()])

    async def tell() -> None:
        _emit(await look())

    await (repeated(tell) if as_json else watched(show))


def _line(finding: Finding) -> str:
    return f"{'ok ' if finding.is_well else '!! '} {finding.text}"


def _emit(findings: list[Finding]) -> None:
    import json

    emit_document(json.dumps([finding._asdict() for finding in findings]))


def _settings(database_url: str | None) -> Settings:
    return located_schema(database_url)
