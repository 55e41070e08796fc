"""`imi-registry replica …`: a read-only copy of a registry by PostgreSQL's logical replication."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.options import AsJson, DatabaseUrl, HttpPort, NatsUrl, Yes
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.session import located_schema, reads, required, run, settings_of
from publisher.cli.terminal.text import emit_json, say, write

if TYPE_CHECKING:
    from publisher.replica.look import Look
    from publisher.replica.publication import Slot
    from publisher.settings import Settings

app = typer.Typer(help="The same by PostgreSQL's logical replication, at source and replica.", no_args_is_help=True)

SLOT = re.compile(r"[a-z0-9_]{1,63}")
SourceUrl = Annotated[
    str | None,
    typer.Option("--source", help="PostgreSQL URL of the source; default: IMI_REPLICA_SOURCE_URL.", show_default=False),
]


def _here(database_url: str | None, source_url: str | None) -> Settings:
    settings = located_schema(database_url)
    return settings if source_url is None else settings.model_copy(update={"replica_source_url": source_url})


@app.command("publish")
def publish(
    login: Annotated[
        str | None,
        typer.Option("--login", help="A login with REPLICATION, which may read these tables from now on."),
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """At the source: publish the tables of the registry to replicas, exactly. Again after an upgrade.

    Example: imi-registry replica publish --login replica
    """
    from publisher.replica import publication
    from publisher.replica.source import connect_source

    settings = located_schema(database_url)

    async def work() -> tuple[list[str], int | None]:
        async with connect_source(settings.database_url or "") as conn:
            return await publication.publish(conn, login), await publication.most_kept_bytes(conn)

    done, most = run(work())
    for statement in done:
        write(f"{statement};")
    if not done:
        write(f"publication {publication.PUBLICATION} has all tables")
    if most is None:
        say(
            "nothing bounds the WAL that is kept for a replica that is away, until the disk is full: "
            "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB', then SELECT pg_reload_conf()"
        )


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What messages call the source.")],
    source_url: SourceUrl = None,
    connection: Annotated[
        str | None,
        typer.Option("--connection", help="The same as PostgreSQL here reaches it, where that differs."),
    ] = None,
    slot: Annotated[
        str | None,
        typer.Option("--slot", help="Of slot and subscription; default: imi_replica_ and this host's name."),
    ] = None,
    may_replace: Annotated[
        bool, typer.Option("--replace", help="Give up the rows and the history that this registry has.")
    ] = False,
    is_watched: Annotated[bool, typer.Option("--wait/--no-wait", help="Until the initial copy is complete.")] = True,
    database_url: DatabaseUrl = None,
    yes: Yes = False,
) -> None:
    """At the replica: copy the source's tables and follow them; read-only from now on.

    PostgreSQL keeps the source's URL, with its password: a passfile of its server's account is safer.

    Example: imi-registry replica create headquarters --source postgresql://replica@headquarters/imi
    """
    from publisher.replica import replication

    settings = _here(database_url, source_url)
    required_source(settings)
    chosen = slot or _slot_of_this_host()
    if not SLOT.fullmatch(chosen):
        raise typer.BadParameter(f'--slot "{chosen}": it must have 1 to 63 of a-z, 0-9 and _')
    if may_replace:
        confirm("give up all rows and the history of this registry?", yes)
    url = settings.database_url or ""
    run(replication.create(url, name, chosen, settings.replica_source_url or "", connection, may_replace=may_replace))
    write(f"this registry is a replica of {name}, with slot {chosen} there")
    if is_watched:
        _watch_copy(url, settings.replica_source_url or "")
        write("all tables are copied; start: imi-registry replica run")
    else:
        write("imi-registry replica status tells how far the initial copy is; start: imi-registry replica run")


def required_source(settings: Settings) -> None:
    """Raise `Invalid` unless it is known where the source is."""
    from registry.errors import Invalid

    if not settings.replica_source_url:
        raise Invalid("setting replica_source_url: missing; set IMI_REPLICA_SOURCE_URL or give --source")


def _slot_of_this_host() -> str:
    host = re.sub(r"[^a-z0-9]+", "_", socket.gethostname().split(".")[0].lower())
    return f"imi_replica_{host}"[:63]


def _watch_copy(database_url: str, source_url: str) -> None:
    from publisher.cli.terminal.progress import progress
    from publisher.replica import replication

    with progress("tables copied") as told:
        run(replication.copied(database_url, source_url, told))


@app.command("run")
def run_replica(
    source_url: SourceUrl = None,
    database_url: DatabaseUrl = None,
    nats_url: NatsUrl = None,
    http_port: HttpPort = None,
) -> None:
    """Watch the replica, answer queries, show status page and console. PostgreSQL follows without it.

    Example: IMI_REPLICA_SOURCE_URL=postgresql://replica@headquarters/imi imi-registry replica run
    """
    from publisher import tracing
    from publisher.service import serve as run_service

    settings = settings_of(
        database_url=database_url, nats_url=nats_url, http_port=http_port, replica_source_url=source_url
    )
    required(settings, "database_url", "nats_url")
    required_source(settings)
    with tracing.started():
        run(run_service(settings), tells_blockers=False)


@app.command("status")
@reads
def status(source_url: SourceUrl = None, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Show, at a replica, how far it is, or why it does not follow; at a source, what each slot keeps on its disk.

    Example: imi-registry replica status
    """
    from publisher.replica.look import look

    found = run(look(_here(database_url, source_url)))
    if as_json:
        emit_json(found.document())
        return

    from publisher.cli.terminal import tables

    if found.state is not None:
        tables.print_details(found.details())
    if found.published.is_there or found.slots:
        _print_slots(found)


def _print_slots(found: Look) -> None:
    from publisher.cli.terminal import tables

    rows: list[Slot] = found.slots
    tables.print_table(
        {
            "slot": [slot.name for slot in rows],
            "read": ["yes" if slot.is_active else "no" for slot in rows],
            "state": [slot.wal_status or "" for slot in rows],
            "WAL kept": [_bytes(slot.kept_bytes) for slot in rows],
            "behind": [_bytes(slot.behind_bytes) for slot in rows],
            "lag": ["" if slot.lag_seconds is None else f"{slot.lag_seconds:,.1f} s" for slot in rows],
        },
        empty="published, and no replica follows",
    )
    if rows:
        most = found.most_kept_bytes
        write(
            "nothing bounds what is kept for a slot" if most is None else f"at most {_bytes(most)} is kept for a slot"
        )


def _bytes(number: int | None) -> str:
    return "" if number is None else f"{number / 1e6:,.1f} MB"


@app.command("promote")
def promote(
    is_forced: Annotated[
        bool, typer.Option("--force", help="Although the source answers, or cannot be asked.")
    ] = False,
    source_url: SourceUrl = None,
    database_url: DatabaseUrl = None,
    yes: Yes = False,
) -> None:
    """Make this replica the registry, which takes writes. The source must be gone: there is no way back.

    Example: imi-registry replica promote --yes
    """
    from publisher.replica import replication

    settings = _here(database_url, source_url)
    confirm("take writes from now on, whatever becomes of the source?", yes)
    url, source = settings.database_url or "", settings.replica_source_url
    was, epoch, left = run(replication.promote(url, source, is_forced=is_forced))
    write(f"promoted: this registry takes writes, epoch {epoch}")
    _say_slot(was.slot, was.source, left)
    write("start: imi-registry serve; where its NATS lacks the stream, first: imi-registry rebuild-stream")


@app.command("drop")
def drop(
    slot: Annotated[
        str | None,
        typer.Option("--slot", help="At the source: drop this slot, of a replica that is gone.", show_default=False),
    ] = None,
    source_url: SourceUrl = None,
    database_url: DatabaseUrl = None,
    yes: Yes = False,
) -> None:
    """Follow the source no longer; the rows stay, read-only. With --slot, at a source: give a replica up.

    Example: imi-registry replica drop --yes
    """
    from publisher.replica import publication, replication
    from publisher.replica.source import connect_source

    settings = _here(database_url, source_url)
    url = settings.database_url or ""
    if slot is not None:
        confirm(f"drop slot {slot}, without which its replica cannot go on?", yes)

        async def work() -> None:
            async with connect_source(url) as conn:
                await publication.drop_slot(conn, slot or "")

        run(work())
        write(f"dropped slot {slot}")
        return
    confirm("follow the source no longer?", yes)
    was, left = run(replication.drop(url, settings.replica_source_url))
    write(f"this registry follows {was.source} no longer, and is still read-only: replica create --replace, or promote")
    _say_slot(was.slot, was.source, left)


def _say_slot(slot: str, source: str, left: str | None) -> None:
    if left is not None:
        say(f"slot {slot} of {source} stays, and keeps WAL ({left}); there: imi-registry replica drop --slot {slot}")
