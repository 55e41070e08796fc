"""`imi-registry migrate …`: the schema of the database, forward and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from publisher.cli.options import AsJson, DatabaseUrl, Yes
from publisher.cli.session import database

app = typer.Typer(
    help="Bring the database to this version's schema (that is: migrate up), and back.", invoke_without_command=True
)


@app.callback()
def default(context: typer.Context) -> None:
    """Bring the database (DATABASE_URL) to this version's schema, and back. Alone it does what `migrate up` does."""
    if context.invoked_subcommand is None:
        up()


@app.command("up")
def up(
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


@app.command("status")
def status(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
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


@app.command("rollback")
def rollback(
    database_url: DatabaseUrl = None,
    yes: Yes = False,
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


@app.command("head")
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
        print(f"wrote {folder / name}")
