"""`imi-registry migrate …`: the schema of the database, forward and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from publisher.cli.arguments.options import AsJson, DatabaseUrl, UpFolder, Utc, Yes
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.session import database, reads
from publisher.cli.terminal.progress import progress
from publisher.cli.terminal.text import emit_document, say, write

app = typer.Typer(invoke_without_command=True)


UNDECIDED = 1


@app.callback()
def default(context: typer.Context) -> None:
    """Bring the database (DATABASE_URL) to this version's schema, and back. Alone it does what `migrate up` does."""
    if context.invoked_subcommand is None:
        up()


@app.command("up")
def up(
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    merge_duplicates: Annotated[
        bool, typer.Option("--merge-duplicates", help="Of projects of one repository, make one (original schema only).")
    ] = False,
    afterwards: Annotated[
        bool, typer.Option("--afterwards", help="Also what waits until no process of an earlier version runs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Apply what is pending, and write the events of rows that have none. Safe to run twice, and by two at once.

    A database with the schema 2.0.0 as it was first shipped is upgraded; docs/upgrading.md.

    Example: imi-registry migrate up --dry-run
    """
    from publisher.cli.terminal import upgrade
    from registry.database import adoption, migrate

    adopted = adoption.Plan()
    backfilled = 0
    with database(database_url) as conn:
        if dry_run:
            adopted = migrate.plan(conn, merge_duplicates=merge_duplicates)
            names = migrate.apply(conn, dry_run=True, afterwards=afterwards)
        else:
            try:
                names, adopted = migrate.upgrade(conn, merge_duplicates=merge_duplicates, afterwards=afterwards)
            except adoption.Undecided as undecided:
                upgrade.print_decisions(undecided.plan, say)
                raise
            backfilled = _backfill(conn)
        waiting = [item.name for item in migrate.status(conn) if item.state == "waiting" and item.name not in names]
    if as_json:
        emit_document(
            json.dumps(
                adopted.as_dict()
                | {"applied": [] if dry_run else names, "pending": names if dry_run else [], "waiting": waiting}
            )
        )
    else:
        upgrade.print_changes(adopted)
        upgrade.print_decisions(adopted, write)
        for one in adopted.replaced:
            write(f"{'would replace' if dry_run else 'replaced'} {one}, which is not that of the migrations")
        if adopted.replaced and dry_run:
            write("what was changed in these by hand will be gone; pg_dump --schema-only before keeps it")
        for name in names:
            write(f"{'would apply' if dry_run else 'applied'} {name}")
        if not names:
            write("nothing to apply")
        for name in waiting:
            write(f"{name} waits: when no process of an earlier version runs, imi-registry migrate up --afterwards")
        if backfilled:
            write(f"wrote the events of {backfilled:,} rows that are older than the outbox")
    if adopted.decisions:
        raise typer.Exit(UNDECIDED)


def _backfill(conn: Any) -> int:
    """Write the events that are missing, with a bar on a terminal; returns for how many rows."""
    from registry.database.backfill import backfill

    with progress("rows") as tell:
        return backfill(conn, tell)


@app.command("status")
@reads
def status(
    database_url: DatabaseUrl = None, _state_dir: UpFolder = None, _utc: Utc = False, as_json: AsJson = False
) -> None:
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
        emit_document(json.dumps(rows))
        return
    from publisher.cli.arguments.times import printed
    from publisher.cli.terminal import tables

    tables.print_table(
        {
            "migration": [item.name for item in found],
            "state": [item.state for item in found],
            "applied at": [printed(item.applied_at) if item.applied_at else "" for item in found],
        },
        empty="no migrations",
        dispensable=("applied at",),
    )


@app.command("down")
def down(
    to: Annotated[int, typer.Option("--to", metavar="NUMBER", help="The last migration to keep, as 006.", min=1)],
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be taken back.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take back the migrations behind one, newest first, with what they brought; all other data stays.

    Writers go on meanwhile. Processes of this version of the package are stopped first: they need what is taken back.

    Example: imi-registry migrate down --to 006 --yes
    """
    from registry.database.stepping import back

    with database(database_url) as conn:
        names = back.down(conn, to=to, dry_run=True)
        if names and not dry_run:
            confirm(f'Take back {", ".join(names)} in database "{conn.info.dbname}"?', yes)
            names = back.down(conn, to=to)
    if as_json:
        emit_document(json.dumps({"taken_back": [] if dry_run else names, "pending": names if dry_run else []}))
        return
    for name in names:
        write(f"{'would take back' if dry_run else 'took back'} {name}")
    if not names:
        write("nothing to take back")


@app.command("rollback")
def rollback(
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    yes: Yes = False,
) -> None:
    """Remove the registry, with all its data, from the database.

    Example: imi-registry migrate rollback --yes
    """
    from registry.database import migrate

    with database(database_url) as conn:
        confirm(f'Remove the registry and all its data from database "{conn.info.dbname}"?', yes)
        migrate.rollback(conn)
    write("removed")


@app.command("head")
@reads
def head(
    folder: Annotated[Path, typer.Argument(help="Where the files go.", file_okay=False)] = Path("migrations/head"),
    database_url: DatabaseUrl = None,
) -> None:
    """Write the schema that the database has now into files for reading: tables, functions, triggers, views.

    Example: imi-registry migrate head /tmp/schema
    """
    from registry.database.head import head

    with database(database_url) as conn:
        files = head(conn)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        write(f"wrote {folder / name}")
