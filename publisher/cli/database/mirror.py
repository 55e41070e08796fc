"""`imi-registry mirror …`: this registry as a read-only copy of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.options import AsJson, DatabaseUrl, HttpPort, NatsUrl, Yes
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.session import located_schema, reads, required, run, settings_of
from publisher.cli.terminal.text import emit_json, write

if TYPE_CHECKING:
    from publisher.mirror.state import MirrorState
    from publisher.settings import Settings

app = typer.Typer(help="This registry as a read-only mirror of another one.", no_args_is_help=True)

SourceUrl = Annotated[
    str | None,
    typer.Option("--source", help="NATS of the source; default: IMI_MIRROR_NATS_URL.", show_default=False),
]


@app.command("setup")
def setup(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What messages call the source.")],
    may_replace: Annotated[
        bool, typer.Option("--replace", help="Give up the rows and the history that this registry has.")
    ] = False,
    database_url: DatabaseUrl = None,
    yes: Yes = False,
) -> None:
    """Make this registry a mirror: read-only from now on, for its users as for its owner.

    Example: imi-registry mirror setup headquarters
    """
    from publisher.mirror.promotion import set_up

    settings = located_schema(database_url)
    if may_replace:
        confirm("give up all rows and the history of this registry?", yes)
    run(set_up(settings, name, may_replace=may_replace))
    write(f"this registry is a mirror of {name}; start: imi-registry mirror run")


@app.command("run")
def run_mirror(
    source_url: SourceUrl = None,
    database_url: DatabaseUrl = None,
    nats_url: NatsUrl = None,
    http_port: HttpPort = None,
) -> None:
    """Follow the source, answer queries, show status page and console. Run several: one follows.

    Example: IMI_MIRROR_NATS_URL=nats://headquarters imi-registry mirror run
    """
    from publisher import tracing
    from publisher.service import serve as run_service

    settings = settings_of(
        database_url=database_url, nats_url=nats_url, http_port=http_port, mirror_nats_url=source_url
    )
    required(settings, "database_url", "nats_url", "mirror_nats_url")
    with tracing.started():
        run(run_service(settings), tells_blockers=False)


@app.command("status")
@reads
def status(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Show of which registry this is the mirror, how old it is, and how far.

    Example: imi-registry mirror status
    """
    from publisher.mirror.promotion import state_of

    state = run(state_of(located_schema(database_url)))
    if as_json:
        emit_json(state._asdict())
        return

    from publisher.cli.terminal import tables

    tables.print_details(_details(state))


def _details(state: MirrorState) -> dict[str, object]:
    age = "unknown: it has not caught up since its last snapshot"
    if state.age_seconds is not None:
        age = f"{state.age_seconds:,.1f} s"
    return {
        "mirror of": state.source,
        "promoted": state.promoted_at,
        "age": age if state.is_mirror else None,
        "sequence": f"{state.sequence:,} of {state.stream}",
        "last event": state.event_at,
        "events applied": f"{state.events:,}",
        "snapshots": f"{state.snapshots:,}",
        "last snapshot": state.snapshot_at,
        "because": state.snapshot_reason,
        "registry": state.registry_id,
        "epoch": state.epoch,
    }


@app.command("refresh")
def refresh(
    of_other_source: Annotated[
        bool, typer.Option("--other-source", help="Take another registry for the source, as one that was made anew.")
    ] = False,
    database_url: DatabaseUrl = None,
    yes: Yes = False,
) -> None:
    """Let a snapshot of the source take the place of all rows; who follows does it.

    Example: imi-registry mirror refresh
    """
    from publisher.mirror.promotion import ask_for_snapshot

    settings = located_schema(database_url)
    if of_other_source:
        confirm("replace all rows by those of another registry?", yes)
    state = run(ask_for_snapshot(settings, of_other_source=of_other_source))
    write(f"the next snapshot of {state.source} takes the place of all rows")


@app.command("promote")
def promote(
    is_forced: Annotated[
        bool, typer.Option("--force", help="Although the source answers, or cannot be asked.")
    ] = False,
    source_url: SourceUrl = None,
    database_url: DatabaseUrl = None,
    nats_url: NatsUrl = None,
    yes: Yes = False,
) -> None:
    """Make this mirror a registry of its own, which takes writes. The source must be gone: there is no way back.

    Example: imi-registry mirror promote --yes
    """
    settings = located_schema(database_url, nats_url=nats_url)
    if source_url is not None:
        settings = settings.model_copy(update={"mirror_nats_url": source_url})
    confirm("take writes from now on, whatever becomes of the source?", yes)
    epoch, rows = _promoted(settings, is_forced=is_forced)
    write(f"promoted: this registry takes writes, epoch {epoch}; {rows:,} rows are told as events")
    write("start: imi-registry serve")


def _promoted(settings: Settings, *, is_forced: bool) -> tuple[int, int]:
    from publisher.mirror.promotion import promote as promote_mirror
    from registry.database.backfill import backfill
    from registry.database.connection import connect_blocking

    epoch = run(promote_mirror(settings, is_forced=is_forced))
    with connect_blocking(settings.database_url or "") as conn:
        conn.autocommit = True
        return epoch, backfill(conn)
