"""Rows as tables for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.errors import StyleSyntaxError
from rich.style import Style
from rich.table import Table
from rich.text import Text

from publisher.cli.arguments.times import printed
from publisher.cli.terminal.text import console, safe
from publisher.text import visible
from registry import exact

if TYPE_CHECKING:
    from registry.models import InflightWork, Worktree

SHORTEST_ID = 8
SHORT = 12
"""Columns of a value that is not folded."""
NARROWEST = 8
"""Columns of the terminal that one of a table needs at least."""
BETWEEN_COLUMNS = 3
EDGES = 2
"""Blanks at both ends of a line: the box has a side for lines that it does not draw."""
STATUS_STYLES = {"clean": "green", "uncommitted": "yellow", "ahead": "cyan", "behind": "magenta", "diverged": "red"}


def print_table(
    columns: Mapping[str, Iterable[str | Text]], empty: str, dispensable: Sequence[str] = ("id", "agent")
) -> None:
    """A table, given column by column, with nothing cut off; `empty` is said where there are no rows.

    A column that is empty in every row leaves its room to the others. A terminal too narrow for all columns gets none
    of the `dispensable` ones, as far as needed, the first one first.
    """
    out = console()
    cells = {name: [safe(cell) for cell in column] for name, column in columns.items()}
    if not any(cells.values()):
        out.print(Text(visible(empty), "dim"))
        return
    cells = {name: column for name, column in cells.items() if any(column)} or cells
    for name in dispensable:
        if _least_width(cells) <= out.width:
            break
        cells.pop(name, None)
    if _least_width(cells) > out.width and out.width < NARROWEST * len(cells):
        _print_rows(out, cells)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    unfolded = _unfolded(cells, out.width)
    for name in cells:
        table.add_column(name, overflow="fold", no_wrap=name in unfolded)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    out.print(table)


def _unfolded(columns: Mapping[str, Sequence[Text]], width: int) -> set[str]:
    """Columns whose values stay on one line in a table of `width`; the others share the rest.

    What is short; then what cannot be folded between words (times, ids, subjects), the narrowest first, while there is
    room. Where there is none, nothing: what may not wrap would be cut.
    """
    spare = width - _least_width(columns)
    if spare < 0:
        return set()
    unfolded = {name for name, column in columns.items() if _width(column) <= SHORT}
    for name, column in sorted(columns.items(), key=lambda item: _width(item[1])):
        missing = _width(column) - max(SHORT, cell_len(name))
        if name not in unfolded and missing <= spare and not any(" " in cell.plain for cell in column):
            unfolded.add(name)
            spare -= max(missing, 0)
    return unfolded


def _print_rows(out: Console, cells: Mapping[str, Sequence[Text]]) -> None:
    """Each row as lines of names and values, where columns would be too narrow to be read."""
    for row in zip(*cells.values(), strict=True):
        for name, cell in zip(cells, row, strict=True):
            out.print(Text(f"{name} ", "bold").append_text(cell), overflow="fold")
        out.print()


def _width(column: Iterable[Text]) -> int:
    return max(cell.cell_len for cell in column)


def _least_width(columns: Mapping[str, Sequence[Text]]) -> int:
    """How wide a table must be for all its columns to be read: what is short in one piece, the rest folded."""
    widths = [max(min(_width(column), SHORT), cell_len(name)) for name, column in columns.items()]
    return sum(widths) + BETWEEN_COLUMNS * (len(widths) - 1) + EDGES


def print_details(details: Mapping[str, object]) -> None:
    """Names and values, one a line; what has no value is left out."""
    out = console()
    shown = {name: _detail(value) for name, value in details.items() if value not in (None, "", {})}
    if out.width < max(map(cell_len, shown), default=0) + NARROWEST:
        _print_rows(out, {name: [value] for name, value in shown.items()})
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in shown.items():
        grid.add_row(name, value)
    out.print(grid)


def _detail(value: object) -> Text:
    if isinstance(value, Text):
        return safe(value)
    if isinstance(value, dict):
        return safe(exact.dumps(value).decode())
    if isinstance(value, datetime):
        return Text(printed(value))
    return safe(str(value))


def by_host(hosts: Sequence[UUID], names: Mapping[UUID, str]) -> dict[str, Iterable[str]]:
    """The column that tells the host of each row; none where all are on the default one, which nobody named."""
    return {"host": [names.get(host, str(host)[:SHORTEST_ID]) for host in hosts]} if names else {}


def short_ids(ids: Sequence[UUID]) -> list[str]:
    """The beginnings of `ids` that tell them apart, all of one length."""
    for length in range(SHORTEST_ID, 37):
        beginnings = [str(id_)[:length] for id_ in ids]
        if len(set(beginnings)) == len(set(ids)):
            return beginnings
    return [str(id_) for id_ in ids]


def slug(remote_origin: str) -> str:
    """`owner/repo` of an origin."""
    return remote_origin.removeprefix("git@github.com:").removesuffix(".git")


def state(worktree: Worktree) -> Text:
    """What there is to do in a worktree: `±3 ↑2 ↓1`, clean, merged or removed."""
    if worktree.merged_at is not None:
        return Text("merged", "magenta")
    if not worktree.active:
        return Text("removed", "dim")
    return counts(worktree.status, worktree.uncommitted_files_count, worktree.ahead_of_trunk, worktree.behind_trunk)


def work_left(work: InflightWork) -> Text:
    """Same for in-flight work."""
    return counts(work.status, work.uncommitted_count, work.ahead, work.behind)


def counts(status: str, uncommitted: int, ahead: int, behind: int) -> Text:
    """Files not committed, commits ahead of and behind the trunk."""
    parts = [(f"±{uncommitted}", uncommitted), (f"↑{ahead}", ahead), (f"↓{behind}", behind)]
    work = " ".join(text for text, count in parts if count)
    return Text(work or status, STATUS_STYLES[status])


def style_of(color: str | None) -> Style | str:
    """The style of a colour such as `#10B981`; none for what is no colour."""
    try:
        return Style.parse(color or "")
    except StyleSyntaxError:
        return ""
