"""`imi-registry import-sqlite`: iMi's old SQLite database into the registry."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.allowances import MostBytes, MostRows, MostTime, allowance
from publisher.cli.arguments.folders import expanded
from publisher.cli.arguments.options import AsJson, DatabaseUrl, UpFolder
from publisher.cli.servers.machine import machine
from publisher.cli.servers.session import database_with_schema, settings_of
from publisher.cli.terminal.progress import progress
from publisher.cli.terminal.text import emit_json, say, write

if TYPE_CHECKING:
    from registry.database.sqlite import Report

UNDECIDED = 1
LISTED = 20
"""Problems of a table, and notes about a field of it, that are listed; --json has more."""


def import_sqlite(
    file: Annotated[Path, typer.Argument(help="The old database, for example ~/.iMi/imi.db; it is only read.")],
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be imported.")] = False,
    create_types: Annotated[
        bool, typer.Option("--create-types", help="Make worktree types that are used and stand nowhere.")
    ] = False,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Import the rest, without the rows that have a problem.")
    ] = False,
    most_rows: MostRows = 5_000_000,
    most_bytes: MostBytes = "4GiB",
    most_time: MostTime = "1h",
    as_json: AsJson = False,
) -> None:
    """Import repositories, worktrees, types and activities of iMi's SQLite database, all in one transaction.

    Nothing is imported while a row has a problem, unless --leave-out is given; run it again as often as you like. Where
    IMI_HOST, or the setting host, names a host, all paths are of that one.

    Example: imi-registry import-sqlite ~/.iMi/imi.db --dry-run
    """
    from registry.database.sqlite import Choices, transfer
    from registry.database.sqlite.source import opened

    host = settings_of().host
    choices = Choices(create_types, leave_out, dry_run, host, machine() if host is not None else None)
    allowed = allowance(most_rows, most_bytes, most_time)
    with (
        database_with_schema(database_url) as conn,
        opened(expanded(file), allowed) as source,
        progress("rows") as tell,
    ):
        report = transfer(conn, source, choices, tell)
    if as_json:
        emit_json(report.as_dict())
    else:
        _print(report, is_dry_run=dry_run)
    if report.problems and not leave_out:
        raise typer.Exit(UNDECIDED)


def _print(report: Report, *, is_dry_run: bool) -> None:
    listed: Counter[tuple[str, ...]] = Counter()
    for problem in report.problems:
        listed["problem", problem.table] += 1
        if listed["problem", problem.table] <= LISTED:
            say(f"problem: {problem.table} {problem.id}: {problem.text}")
            say(f"  {problem.remedy}")
    for note in report.notes:
        listed["note", note.table, note.field] += 1
        if listed["note", note.table, note.field] <= LISTED:
            say(f"note: {note.table} {note.id}: {note.text}")
    for table, count in report.problem_counts.items():
        _say_more(count, f"problems of {table}")
    for (table, field), count in report.note_counts.items():
        _say_more(count, f"notes of {table} about {field}")
    what = "imported" if report.is_done else "would be imported"
    for table, count in report.imported.items():
        there = report.present.get(table, 0)
        write(f"{table}: {count:,} {what}" + (f", {there:,} there already" if there else ""))
    for table, count in report.present.items():
        if table not in report.imported and count:
            write(f"{table}: none {what}, {count:,} there already")
    if not report.imported and not report.present:
        write("nothing to import")
    if report.problems and not report.is_done:
        write(f"nothing was imported: {report.problem_counts.total():,} rows have a problem")
    elif is_dry_run:
        write("nothing was imported: this was a dry run")


def _say_more(count: int, what: str) -> None:
    if count > LISTED:
        say(f"{count - LISTED:,} more {what}: see --json")
