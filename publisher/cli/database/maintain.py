"""`imi-registry maintain …`: housekeeping of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.options import Actor, DatabaseUrl, UpFolder, Yes
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.session import database_with_schema, with_registry
from publisher.cli.terminal.text import write

if TYPE_CHECKING:
    from registry.database import Registry

app = typer.Typer(no_args_is_help=True)

Days = Annotated[int, typer.Option("--days", help="Older than this.", min=0, max=36_500)]


@app.command("vacuum")
def vacuum_tables(database_url: DatabaseUrl = None, _state_dir: UpFolder = None) -> None:
    """Vacuum and analyze all tables of the registry. Nothing is locked meanwhile.

    Example: imi-registry maintain vacuum
    """
    from registry.database.maintenance import vacuum

    with database_with_schema(database_url) as conn:
        for table in vacuum(conn):
            write(f"vacuumed {table}")


@app.command("recount")
def recount_everything(database_url: DatabaseUrl = None, _state_dir: UpFolder = None) -> None:
    """Count everything anew, where doctor says that counts are wrong. Nothing is locked meanwhile.

    Example: imi-registry maintain recount
    """
    from registry.database.maintenance import recount

    with database_with_schema(database_url) as conn:
        recount(conn)
    write("counted everything anew")


@app.command("cleanup-activities")
def cleanup_activities(
    days: Days = 90,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
) -> None:
    """Remove activities older than so many days, for good.

    Example: imi-registry maintain cleanup-activities --days 90 --yes
    """
    confirm(f"Remove all activities older than {days} days?", yes)

    async def work(registry: Registry) -> int:
        return await registry.cleanup_old_activities(days)

    write(f"removed {with_registry(work, database_url, actor)} activities")


@app.command("prune-worktrees")
def prune_worktrees(
    days: Days = 30,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
) -> None:
    """Delete worktrees that were merged or removed, and untouched for so many days. Their activities stay.

    Example: imi-registry maintain prune-worktrees --days 30 --yes
    """
    confirm(f"Delete all inactive worktrees untouched for {days} days?", yes)

    async def work(registry: Registry) -> int:
        return await registry.prune_inactive_worktrees(days)

    write(f"deleted {with_registry(work, database_url, actor)} worktrees")


@app.command("cleanup-commands")
def cleanup_commands(
    days: Days = 30, yes: Yes = False, database_url: DatabaseUrl = None, _state_dir: UpFolder = None
) -> None:
    """Forget commands carried out more than so many days ago: one sent again after that is carried out again.

    Example: imi-registry maintain cleanup-commands --days 30 --yes
    """
    confirm(f"Forget all commands carried out more than {days} days ago?", yes)

    async def work(registry: Registry) -> int:
        return await registry.cleanup_command_ledger(days)

    write(f"forgot {with_registry(work, database_url)} commands")
