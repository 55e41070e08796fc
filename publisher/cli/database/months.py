"""`imi-registry months …`: the log of agents by month."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.options import AsJson, DatabaseUrl, UpFolder, Utc, Yes
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.session import database_with_schema, reads
from publisher.cli.terminal.progress import progress
from publisher.cli.terminal.text import emit_json, write

if TYPE_CHECKING:
    from registry.database.months import Ends

app = typer.Typer(help="The log of agents by month, which retention drops whole.", no_args_is_help=True)


@app.command("status")
@reads
def status(
    database_url: DatabaseUrl = None, _state_dir: UpFolder = None, _utc: Utc = False, as_json: AsJson = False
) -> None:
    """Show how activities are kept, the months there are, and which is made and dropped next.

    Example: imi-registry months status
    """
    from registry.database import months

    with database_with_schema(database_url) as conn:
        found = months.state(conn)
    if as_json:
        emit_json(found._asdict() | {"months": [month._asdict() for month in found.months]})
        return

    from publisher.cli.terminal import tables

    write("activities are kept by month" if found.by_month else "activities are kept in one table")
    if found.is_moving:
        way = "off" if found.by_month else "on"
        write(f"they are being moved: imi-registry months {way} goes on, imi-registry months cancel gives up")
    if found.by_month:
        tables.print_table(
            {
                "month": [f"{m.begins_at:%Y-%m}" if m.begins_at else "all other times" for m in found.months],
                "activities (estimated)": [f"{m.activities:,}" for m in found.months],
                "MiB": [f"{m.size_bytes / 2**20:,.1f}" for m in found.months],
                "name": [m.name for m in found.months],
            },
            empty="no months",
            dispensable=("name",),
        )
        for line in _next(months.ends(found.months, datetime.now(UTC))):
            write(line)


def _next(ends: Ends | None) -> list[str]:
    """What is made and dropped next."""
    if ends is None:
        return []
    made = f"made next: {ends.first_not_made:%Y-%m}, by serve in time, or by imi-registry months ahead"
    if ends.oldest is None:
        return [made, "dropped next: none, for none is over"]
    return [
        made,
        f"dropped next: {ends.oldest.begins_at:%Y-%m}, by imi-registry maintain cleanup-activities --days "
        f"{ends.oldest_days}, or with fewer days",
    ]


@app.command("on")
def on(database_url: DatabaseUrl = None, _state_dir: UpFolder = None) -> None:
    """Keep activities by month. They are copied beside whoever writes; cut off, it is run again and goes on.

    It takes as much disk as they have now, until it has ended.

    Example: imi-registry months on
    """
    _move(database_url, by_month=True)


@app.command("off")
def off(database_url: DatabaseUrl = None, _state_dir: UpFolder = None) -> None:
    """Keep activities in one table again. As on, in the other direction.

    Example: imi-registry months off
    """
    _move(database_url, by_month=False)


def _move(database_url: str | None, *, by_month: bool) -> None:
    from registry.database import months

    with database_with_schema(database_url) as conn:
        if months.state(conn).by_month == by_month:
            write(f"nothing to do: activities are kept {_told(by_month)}")
            return
        with progress("blocks") as tell:
            copied = months.move(conn, by_month=by_month, progress=tell)
    write(f"activities are kept {_told(by_month)} now; copied {copied:,}")


def _told(by_month: bool) -> str:
    return "by month" if by_month else "in one table"


@app.command("cancel")
def cancel(database_url: DatabaseUrl = None, _state_dir: UpFolder = None) -> None:
    """Give up a move that was begun. Activities stay where they are.

    Example: imi-registry months cancel
    """
    from registry.database import months

    with database_with_schema(database_url) as conn:
        was_moving = months.cancel(conn)
    write("gave up the move" if was_moving else "nothing to do: no move was begun")


@app.command("ahead")
def ahead(
    months_ahead: Annotated[int, typer.Argument(metavar="MONTHS", help="So many after this one.", min=0, max=120)] = 3,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
) -> None:
    """Make months ahead; serve does so by itself, every hour. Without them no activity is refused.

    Example: imi-registry months ahead 12
    """
    from registry.database import months

    with database_with_schema(database_url) as conn:
        made = months.make_ahead(conn, months_ahead)
    write(f"made {made} months")


@app.command("drop")
def drop(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As status tells it, agent_activities_y2026m01.")],
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
) -> None:
    """Drop a month with its activities, for good. maintain cleanup-activities drops those that are old.

    Example: imi-registry months drop agent_activities_y2026m01 --yes
    """
    from registry.database import months

    confirm(f"Drop {name} and all its activities?", yes)
    with database_with_schema(database_url) as conn:
        dropped = months.drop(conn, name)
    write(f"dropped {name} with {dropped:,} activities")
