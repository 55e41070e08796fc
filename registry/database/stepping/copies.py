"""A registry that is a copy of another one, as a migration meets it: what nobody writes is changed all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import tuple_row

from registry.errors import Conflict

IS_THERE: LiteralString = "SELECT to_regclass('public.replica_source') IS NOT NULL"
FOLLOWED: LiteralString = (
    "SELECT quote_ident(name) FROM public.replica_source WHERE promoted_at IS NULL AND stopped_at IS NULL"
)


def refuse_replica(
    conn: Connection[Any], then: LiteralString = ", migrate both, then imi-registry replica create --replace"
) -> None:
    """Raise `Conflict` for a replica that follows: PostgreSQL would go on writing tables that are no longer those.

    What a migration writes would meet what the source's own migration writes, and a table that it makes anew is
    followed no longer, without a word. `then` is what to do once it is dropped.
    """
    with conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
        ((is_there,),) = cursor.execute(IS_THERE).fetchall()
        followed = cursor.execute(FOLLOWED).fetchone() if is_there else None
    if followed is not None:
        raise Conflict(
            f"database {conn.info.dbname} is a replica of {followed[0]} and follows it: imi-registry replica drop "
            f"here{then}"
        )


@contextmanager
def written(conn: Connection[Any]) -> Iterator[None]:
    """Let the owner write inside the block what is read-only here, as the rows of a mirror."""
    conn.execute("SELECT set_config('imi.mirror', 'applies', false)")
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("SELECT set_config('imi.mirror', '', false)")
