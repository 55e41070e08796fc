"""A file of the migrations, run: one transaction, and beside it statements that PostgreSQL allows in none.

Those build or drop an index without a lock that writers would wait for, or move rows in batches of their own. They
stand behind the transaction in a migration, and before it in a way back, and each may be run again. Why:
docs/adr/0007-migrations.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from registry.database.errors import from_database
from registry.database.migration import Statement, split
from registry.database.stepping.lock import lock_timeout_ms
from registry.errors import Invalid, RegistryError

LOCK_MS = 500
"""How long a transaction waits for a lock, and with it every writer that comes behind; then it begins anew."""
PAUSE_SECONDS = 1.0
"""How long writers go on meanwhile."""
_ALONE = re.compile(
    r"(?:CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS"
    r"|DROP INDEX CONCURRENTLY IF EXISTS"
    r"|ALTER TABLE (?:IF EXISTS )?\S+ VALIDATE CONSTRAINT"
    r"|ALTER INDEX \S+ ALTER COLUMN \d+ SET STATISTICS"
    r"|CALL|ANALYZE|VACUUM)\s",
    re.IGNORECASE,
)
_BUILT_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS (\w+)\s+ON\s", re.IGNORECASE)
_IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"


class Script(NamedTuple):
    """The statements of a file."""

    name: str
    before: Sequence[Statement]
    """Each run by itself, before the transaction."""
    transaction: Sequence[Statement]
    behind: Sequence[Statement]

    @property
    def is_one_transaction(self) -> bool:
        """Whether all of it happens or nothing."""
        return not self.before and not self.behind


def script(name: str, text: str) -> Script:
    """The statements of the file `name`.

    Raises `Invalid` unless it has one transaction, and beside it nothing but what must be there.
    """
    statements = split(text)
    words = [statement.text.upper() for statement in statements]
    if words.count("BEGIN") != 1 or words.count("COMMIT") != 1 or words.index("COMMIT") < words.index("BEGIN"):
        raise Invalid(f"migration {name}: expected one transaction, BEGIN; … COMMIT;")
    begin, commit = words.index("BEGIN"), words.index("COMMIT")
    for statement in (*statements[:begin], *statements[commit + 1 :]):
        if not _ALONE.match(statement.text):
            raise Invalid(
                f"migration {name} line {statement.line}: outside of the transaction there may be CREATE INDEX "
                "CONCURRENTLY IF NOT EXISTS, DROP INDEX CONCURRENTLY IF EXISTS, VALIDATE CONSTRAINT, SET STATISTICS of "
                "an index, CALL, ANALYZE and VACUUM"
            )
    return Script(name, statements[:begin], statements[begin + 1 : commit], statements[commit + 1 :])


def run_transaction(conn: Connection[Any], found: Script, record: Callable[[], object] | None = None) -> None:
    """Run the transaction of a file, and `record` in it.

    Within a transaction of the caller it is part of that. Otherwise it waits for a lock in short attempts, so that
    writers do not pile up behind it, and for as long as it takes; a `lock_timeout` of the connection ends it.
    """
    is_part = conn.info.transaction_status != TransactionStatus.IDLE
    has_limit = is_part or lock_timeout_ms(conn) > 0
    while True:
        try:
            with conn.transaction():
                if not has_limit:
                    conn.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_MS)))
                conn.execute("SET LOCAL search_path = public")
                for statement in found.transaction:
                    _execute(conn, found.name, statement)
                if record is not None:
                    record()
                return
        except _LockedError as error:
            if has_limit:
                raise error.told from error
        time.sleep(PAUSE_SECONDS)


def run_alone(conn: Connection[Any], name: str, statements: Sequence[Statement]) -> None:
    """Run each of `statements` of the file `name` by itself. The connection has autocommit, and no open transaction.

    An index that an attempt before left unfinished is dropped and built again. One that is there is not asked for:
    PostgreSQL would refuse it of a table that is partitioned, before it sees that there is nothing to do.
    """
    for statement in statements:
        built = _BUILT_INDEX.match(statement.text)
        if built is not None and _is_built(conn, built[1]):
            continue
        try:
            _execute(conn, name, statement)
        except _LockedError as error:
            raise error.told from error


def _is_built(conn: Connection[Any], index: str) -> bool:
    """Whether it is there; what is left of one that was not finished is dropped."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(_IS_VALID, (f"public.{index}",)).fetchone()
    if row is not None and not row[0]:
        conn.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS public.{}").format(sql.Identifier(index)))
    return row is not None and bool(row[0])


class _LockedError(Exception):
    """A lock that was not to be had in time; `told` is what the caller may see."""

    def __init__(self, told: RegistryError) -> None:
        super().__init__(str(told))
        self.told = told


def _execute(conn: Connection[Any], name: str, statement: Statement) -> None:
    try:
        conn.execute(statement.text.encode())
    except psycopg.Error as error:
        known = from_database(error)
        before = int(error.diag.statement_position or 1) - 1
        line = statement.line + statement.text.count("\n", 0, before)
        told = type(known)(f"migration {name} line {line}: {known}")
        if isinstance(error, psycopg.errors.LockNotAvailable):
            raise _LockedError(told) from error
        raise told from error
