"""The judge of a replica: every table of both databases beside each other, row by row, by SQL of its own."""

from __future__ import annotations

import psycopg

from tests.support.mirror.copies import counted

OWN = {
    "schema_migrations",
    "registry_metadata",
    "registry_counts",
    "project_counts",
    "count_delta",
    "mirror_source",
    "mirror_event",
    "mirror_row",
    "replica_source",
}
"""What each registry has for itself. Counts are compared as readers see them."""


def contents(database: str) -> dict[str, list[str]]:
    """Each row of each table that a replica must have, as text, every digit of its numbers kept.

    One table after the other, none of them held: who applies a TRUNCATE takes them all, in an order of his own.
    """
    with psycopg.connect(database, autocommit=True, options="-c TimeZone=UTC") as conn:
        names = [
            name
            for (name,) in conn.execute(
                "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname"
            )
            if name not in OWN
        ]
        return {
            name: sorted(text for (text,) in conn.execute(f"SELECT t::text FROM public.{name} AS t".encode()))  # noqa: S608  # names out of the catalog
            for name in names
        }


def differences(source: str, replica: str) -> list[str]:
    """What the replica lacks, and has beyond its source, a table each; none when it is the same."""
    theirs, ours = contents(source), contents(replica)
    found = []
    for table, rows in theirs.items():
        missing, more = set(rows) - set(ours[table]), set(ours[table]) - set(rows)
        if missing or more or len(rows) != len(ours[table]):
            found.append(f"{table}: the replica lacks {sorted(missing)[:3]} and has {sorted(more)[:3]}")
    return found


def assert_same(source: str, replica: str) -> None:
    """Fail with what differs, of rows or of counts."""
    found = differences(source, replica)
    assert found == [], found
    theirs, ours = counted(source), counted(replica)
    assert theirs == ours, (theirs, ours)
