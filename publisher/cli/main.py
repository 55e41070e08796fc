"""`imi-registry`: the command line. Commands import what they need when they run, so that `--help` is quick."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from publisher.cli import (
    activity,
    commands,
    events,
    history,
    maintain,
    overview,
    project,
    schemas,
    sync,
    worktree,
    worktree_type,
)
from publisher.cli.installation import embedded
from publisher.cli.session import (
    AsJson,
    DatabaseUrl,
    HttpPort,
    NatsUrl,
    StateDir,
    database,
    line_printer,
    required,
    run,
    say,
    settings_of,
)
from registry.errors import RegistryError, Unavailable

REFUSED, UNREACHABLE = 1, 3

app = typer.Typer(
    name="imi-registry",
    help="The iMi project registry: PostgreSQL schema, and its change feed on NATS JetStream.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
migrate_app = typer.Typer(
    help="Bring the database to this version's schema (that is: migrate up), and back.", invoke_without_command=True
)
app.add_typer(migrate_app, name="migrate")
app.add_typer(events.app, name="events")
app.add_typer(history.app, name="history")
app.command("rebuild-stream")(history.rebuild_stream)
app.command("doctor")(history.doctor)
app.add_typer(schemas.app, name="schemas")
app.add_typer(project.app, name="project")
app.add_typer(worktree.app, name="worktree")
app.add_typer(worktree_type.app, name="type")
app.add_typer(activity.app, name="activity")
app.add_typer(commands.app, name="commands")
app.add_typer(overview.app)
app.add_typer(sync.app)
app.add_typer(maintain.app, name="maintain")


def main() -> None:
    """Entry point: runs the command and turns errors into one line and an exit code (1 refused, 3 unreachable)."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except RegistryError as error:
        print(f"imi-registry: {error}", file=sys.stderr)
        sys.exit(UNREACHABLE if isinstance(error, Unavailable) else REFUSED)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # The reader of our output went away: there is nobody left to tell, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(REFUSED)


@app.command()
def up(state_dir: StateDir = Path(".imi"), http_port: HttpPort = None) -> None:
    """Run everything here: PostgreSQL, NATS, relay, status page. Ctrl-C stops it; the same folder continues.

    Example: imi-registry up --state-dir ~/.imi
    """
    from publisher import service

    with embedded(state_dir, http_port=http_port) as (settings, servers, publish):

        def ready(http_url: str) -> None:
            publish(settings, http_url)
            say(f"ready: {state_dir / 'endpoints.json'} names the URLs; status page {http_url}")

        run(service.serve(settings, ready=ready, children=servers))
    say("stopped")


@app.command()
def serve(database_url: DatabaseUrl = None, nats_url: NatsUrl = None, http_port: HttpPort = None) -> None:
    """Run relay and status page against your servers (DATABASE_URL, NATS_URL). Run several: one leads.

    Example: DATABASE_URL=postgresql://localhost/imi NATS_URL=nats://localhost imi-registry serve
    """
    from publisher import service

    settings = settings_of(database_url=database_url, nats_url=nats_url, http_port=http_port)
    required(settings, "database_url", "nats_url")
    run(service.serve(settings))


@app.command()
def demo(
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="Keep everything in this folder; default: a temporary one.")
    ] = None,
    scan: Annotated[Path, typer.Option("--scan", help="Folder to look for git checkouts in.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """See it work: change a real registry and watch the events arrive. Ends by itself.

    Example: imi-registry demo --json
    """
    import tempfile
    from dataclasses import asdict

    from rich.console import Console

    from publisher import service
    from publisher.cli.demo import Demo, Measured, summary

    if not scan.is_dir():
        raise typer.BadParameter(f'"{scan}" is not a folder', param_hint="--scan")
    console = Console(quiet=as_json, highlight=False)
    results: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="imi-demo-") as temporary:
        folder = state_dir or Path(temporary)
        console.print("[dim]starting PostgreSQL and NATS …[/]")
        with embedded(folder, http_port=0, log_level="warning") as (settings, servers, _):

            async def work() -> None:
                console.print(f"[dim]subscribed to {settings.prefix}.evt.v1.>; writing with plain SQL[/]\n")
                results.append(await Demo(settings, scan, line_printer(console)).run())

            run(service.serve(settings, children=servers, work=work))
    if not results:
        say("stopped before the end")
        raise typer.Exit(REFUSED)
    console.print()
    console.print(summary(results[0]))
    if as_json:
        print(json.dumps(asdict(results[0])))


@migrate_app.callback()
def migrate_default(context: typer.Context) -> None:
    """Bring the database (DATABASE_URL) to this version's schema, and back. Alone it does what `migrate up` does."""
    if context.invoked_subcommand is None:
        migrate_up()


@migrate_app.command("up")
def migrate_up(
    database_url: DatabaseUrl = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be applied.")] = False,
) -> None:
    """Apply what is pending. Safe to run twice, and by two at once.

    Example: imi-registry migrate up --dry-run
    """
    from registry.database import migrate

    with database(database_url) as conn:
        names = migrate.apply(conn, dry_run=dry_run)
    for name in names:
        print(f"{'would apply' if dry_run else 'applied'} {name}")
    if not names:
        print("nothing to apply")


@migrate_app.command("status")
def migrate_status(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Show each migration and whether it is applied.

    Example: imi-registry migrate status --json
    """
    from registry.database import migrate

    with database(database_url) as conn:
        found = migrate.status(conn)
    if as_json:
        rows = [
            {
                "version": item.version,
                "name": item.name,
                "state": item.state,
                "applied_at": item.applied_at.isoformat() if item.applied_at else None,
            }
            for item in found
        ]
        print(json.dumps(rows))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("migration", "state", "applied at")
    for item in found:
        table.add_row(item.name, item.state, item.applied_at.isoformat(timespec="seconds") if item.applied_at else "")
    Console().print(table)


@migrate_app.command("rollback")
def migrate_rollback(
    database_url: DatabaseUrl = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove the registry, with all its data, from the database.

    Example: imi-registry migrate rollback --yes
    """
    from registry.database import migrate

    with database(database_url) as conn:
        if not yes:
            typer.confirm(f'Remove the registry and all its data from database "{conn.info.dbname}"?', abort=True)
        migrate.rollback(conn)
    print("removed")


def _terminate(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
