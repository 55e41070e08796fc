"""The old database: its tables as they are, read and never written.

A file may come from anywhere. What is not stored in it but computed while it is read has no bounds, in time or in
memory, so a view or a column of that kind is none of iMi's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from registry.allowance import Allowance
from registry.errors import Invalid, NotFound
from registry.validation import printable

COLUMNS = {
    "repositories": ("id", "name", "path", "remote_url", "default_branch", "created_at", "updated_at", "active"),
    "worktree_types": ("id", "name", "branch_prefix", "worktree_prefix", "description", "is_builtin", "created_at"),
    "worktrees": (
        "id",
        "repo_name",
        "worktree_name",
        "branch_name",
        "worktree_type",
        "path",
        "created_at",
        "updated_at",
        "active",
        "agent_id",
    ),
    "agent_activities": ("id", "agent_id", "worktree_id", "activity_type", "file_path", "description", "created_at"),
}
"""What is read of each table."""
IN_ORDER = """
SELECT {columns}
FROM (SELECT rowid AS place FROM "{table}" ORDER BY substr(created_at, 1, 64), substr(id, 1, 64) LIMIT -1)
CROSS JOIN "{table}" AS whole ON whole.rowid = place
"""
"""Places are sorted, not rows: SQLite has the first row of each piece that it sorts in memory, so all large ones."""
IS_TABLE = """
SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND name = ? COLLATE NOCASE)
"""
"""Neither a view nor a virtual table: these have no page."""
MOST_BYTES = 16 * 1024 * 1024
"""Of a value or a row: far more than any text that the registry takes."""
BATCH_ROWS, BATCH_BYTES = 500, 4 * 1024 * 1024
"""Of a batch. It is in memory several times over while it is inserted."""
STEPS = 100_000
"""Of SQLite between two looks at the clock: some milliseconds."""
OPTIONAL = {"worktree_types"}
"""Old files have none."""

Row = dict[str, Any]
"""Column → value; text that is empty or blank is None, and what is not UTF-8 is bytes."""


class Source:
    """An open file."""

    def __init__(self, conn: sqlite3.Connection, tables: Mapping[str, int], allowance: Allowance | None) -> None:
        self._conn = conn
        self._allowance = allowance
        self.sizes = tables
        """Number of rows of each table that is there."""

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of a table, oldest first. Raises `Invalid` when the file is damaged, or has more than is allowed."""
        if table not in self.sizes:
            return
        columns = COLUMNS[table]
        listed = ", ".join(f'"{column}"' for column in columns)
        try:
            for values in self._conn.execute(IN_ORDER.format(columns=listed, table=table)):
                if self._allowance is not None:
                    self._allowance.take(_size(values))
                yield {name: _cleaned(value) for name, value in zip(columns, values, strict=True)}
        except sqlite3.Error as error:
            if self._allowance is not None and _is_interrupt(error):
                raise self._allowance.too_late() from None
            raise Invalid(f"table {table}: {_said(error)}") from error

    def batches(self, table: str) -> Iterator[list[Row]]:
        """The rows of a table, some at a time: `BATCH_ROWS`, or as many as have `BATCH_BYTES`. Raises as `rows`."""
        batch: list[Row] = []
        size = 0
        for row in self.rows(table):
            batch.append(row)
            size += _size(row.values())
            if len(batch) == BATCH_ROWS or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


@contextmanager
def opened(file: Path, allowance: Allowance | None = None) -> Iterator[Source]:
    """Read `file`; None allows all there is.

    Raises `NotFound`, `Invalid` when it is not iMi's database, naming table and column, or has more than is allowed.
    """
    if not file.is_file():
        raise NotFound(f'file "{file}": there is no such file')
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file.resolve()))}?mode=ro", uri=True)) as conn:
            conn.text_factory = _text
            conn.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
            conn.execute("PRAGMA trusted_schema = OFF")
            if allowance is not None:
                conn.set_progress_handler(lambda: not allowance.seconds_left, STEPS)
            conn.execute("BEGIN")  # one state of the file, whoever writes it meanwhile
            sizes = _sizes(conn)
            if allowance is not None:
                allowance.check_rows(sum(sizes.values()))
            yield Source(conn, sizes, allowance)
    except sqlite3.Error as error:
        if allowance is not None and _is_interrupt(error):
            raise allowance.too_late() from None
        raise Invalid(f'file "{file}": {_said(error)}') from error
    except UnicodeDecodeError as error:  # in what SQLite says of a damaged schema, which Python reads as text
        raise Invalid(f'file "{file}": its schema is damaged') from error


def _is_interrupt(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


def _said(error: sqlite3.Error) -> str:
    """What SQLite says, which may have words of a damaged file in it, on one line."""
    text = str(error)
    return text if text.isprintable() else printable(text)


def _sizes(conn: sqlite3.Connection) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for table, columns in COLUMNS.items():
        there = {row[1]: row[6] for row in conn.execute(f'PRAGMA table_xinfo("{table}")')}
        if not there and table in OPTIONAL:
            continue
        if not there or not conn.execute(IS_TABLE, [table]).fetchone()[0]:
            raise Invalid(f"it has no table {table}: this is not iMi's database")
        computed = [column for column in columns if there.get(column)]
        if computed:
            raise Invalid(f"table {table}: column {computed[0]} is computed, not stored: this is not iMi's database")
        missing = [column for column in columns if column not in there]
        if missing:
            raise Invalid(f"table {table} has no column {missing[0]}: this is not iMi's database")
        (sizes[table],) = conn.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608  # a constant
    return sizes


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _size(values: Iterable[Any]) -> int:
    return sum(len(value) for value in values if isinstance(value, str | bytes))


def _cleaned(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value
