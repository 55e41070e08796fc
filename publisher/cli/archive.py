"""`imi-registry events export` and `import`: the whole history as a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.allowances import MostBytes, MostRows, MostTime, allowance
from publisher.cli.arguments.options import DatabaseUrl, StateDir
from publisher.cli.servers.installation import installation, is_folder_meant
from publisher.cli.servers.session import located_schema, reads, run
from publisher.cli.terminal.text import say

if TYPE_CHECKING:
    from publisher.settings import Settings


@reads
def export(
    file: Annotated[Path, typer.Argument(help="JSON Lines; compressed when it ends in .zst; - is the output.")],
    state_dir: StateDir = Path(".imi"),
    database_url: DatabaseUrl = None,
) -> None:
    """Write the whole history out of the database, one envelope a line, in the order in which it was published.

    The servers of an `up` that does not run are started for it.

    Example: imi-registry events export history.jsonl.zst
    """
    from publisher.history import archive
    from publisher.outbox.connection import connect

    async def work(settings: Settings) -> int:
        async with connect(settings.database_url or "", "imi-registry export") as conn:
            with archive.writing(file) as write:
                return await archive.export_history(conn, settings, write)

    with installation(state_dir, "database_url", database_url=database_url) as settings:
        events = run(work(located_schema(settings.database_url)))
    say(f"{events:,} events exported")


def import_(
    file: Annotated[Path, typer.Argument(help="What `events export` wrote.")],
    state_dir: StateDir = Path(".imi"),
    database_url: DatabaseUrl = None,
    most_rows: MostRows = 50_000_000,
    most_bytes: MostBytes = "64GiB",
    most_time: MostTime = "6h",
) -> None:
    """Bring an exported history, and the tables it tells of, into an empty installation. All of it, or nothing.

    With --state-dir, or without a database URL, that is the folder of `up`, which must not run; it is created when it
    is missing.

    Example: imi-registry events import history.jsonl.zst --state-dir ~/.imi
    """
    from publisher.history import archive
    from publisher.outbox.connection import connect

    allowed = allowance(most_rows, most_bytes, most_time)

    async def work(settings: Settings, lines: Iterable[bytes]) -> tuple[int, list[str]]:
        async with connect(settings.database_url or "", "imi-registry import") as conn:
            return await archive.import_history(conn, settings, lines, allowed), await archive.unnamed_hosts(conn)

    with (
        archive.reading(file) as lines,
        installation(state_dir, "database_url", database_url=database_url, may_be_new=True) as settings,
    ):
        located_schema(settings.database_url)
        events, unnamed = run(work(settings, lines))
    option = f" --state-dir {state_dir}" if is_folder_meant(database_url) else ""
    for host in unnamed:
        say(f"no event names host {host}: before it is used, imi-registry host rename {host} NAME{option}")
    say(f"{events:,} events imported; publish them with: imi-registry rebuild-stream{option}")
