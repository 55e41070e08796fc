"""Where the bytes of WAL of a write go: table by table, index by index, by PostgreSQL's own reader of its log."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping

import psycopg

from benchmarks.harness.bounds import bounded
from benchmarks.harness.measure import Report, Target
from benchmarks.harness.population import load, worktree_id
from benchmarks.harness.servers import Servers
from benchmarks.harness.sizes import Sizes

LIMIT_BYTES = 900
WORKTREES = 10_000
AS_IT_IS, FULL, COMPRESSED = "as it is", "with full pages", "with data to be compressed from 128 bytes on"
SIDES = {
    AS_IT_IS: "VACUUM ANALYZE",
    COMPRESSED: "VACUUM ANALYZE; ALTER TABLE outbox SET (toast_tuple_target = 128);"
    " ALTER TABLE outbox ALTER COLUMN data SET STORAGE MAIN",
    FULL: "ALTER TABLE worktrees SET (fillfactor = 100); VACUUM FULL worktrees; ANALYZE",
}
"""Name to what is done with the tables before; one statement of each, in turn."""
WRITES = {
    "update_worktree_git_state": "SELECT update_worktree_git_state(%(worktree)s, p_ahead := %(number)s)",
    "log_activity": "SELECT log_activity('ada', %(worktree)s, 'modified', 'Updated the login', 'src/auth.rs')",
}
EVENT, ALL = "outbox", "all"
OURS = ("outbox", "count_delta", "idx_agent_activities_words", "idx_worktrees_words")
"""Beginnings of the tables and indexes that the specification does not have."""
PARTS = """
SELECT coalesce(c.relname, r.resource_manager || ' ' || r.record_type), sum(r.record_length - r.fpi_length)
FROM pg_get_wal_records_info(%(before)s, %(after)s) AS r
LEFT JOIN (
    SELECT DISTINCT ON (b.start_lsn) b.start_lsn, b.relfilenode, b.reldatabase
    FROM pg_get_wal_block_info(%(before)s, %(after)s, false) AS b
    ORDER BY b.start_lsn, b.block_id
) AS first USING (start_lsn)
LEFT JOIN pg_database AS d ON d.oid = first.reldatabase AND d.datname = current_database()
LEFT JOIN pg_class AS c ON d.oid IS NOT NULL AND pg_relation_filenode(c.oid) = first.relfilenode
GROUP BY 1
"""
"""A record is of the relation whose page it names first. Images of pages, which checkpoints cause, are left out."""
DATA = """
SELECT
    avg(pg_column_size(o.data)),
    avg(pg_column_size(jsonb_strip_nulls(o.data))),
    avg(pg_column_size(told.in_order)),
    avg(coalesce(pg_column_size(w), pg_column_size(a)))
FROM outbox AS o
CROSS JOIN LATERAL (SELECT jsonb_agg(value ORDER BY key) AS in_order FROM jsonb_each(o.data)) AS told
LEFT JOIN worktrees AS w ON w.id = o.entity_id
LEFT JOIN agent_activities AS a ON a.id = o.entity_id
WHERE o.action = %s
"""
DATA_SIZES = (
    "data of the event",
    "the same without what is NULL",
    "its values without keys",
    "the row it tells, as PostgreSQL stores it",
)


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Bytes a write, by what they are of."""
    report = Report(
        "wal",
        f"WAL of one write, its commit included, no publisher; a mean over {sizes.cpu_transactions * 5:,} writes to "
        f"{WORKTREES:,} worktrees, by `pg_walinspect`, without images of pages. A record counts for the table or index "
        "whose page it names first. Bytes do not depend on how busy a machine is. PostgreSQL compresses no row below "
        f"two thousand bytes, whatever its table says: `{COMPRESSED}`.",
    )
    for side, prepared in SIDES.items():
        with servers.database() as url:
            await asyncio.to_thread(_measure, url, side, prepared, sizes.cpu_transactions * 5, report)
    return report


def _measure(database_url: str, side: str, prepared: str, writes: int, report: Report) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION pg_walinspect")
        load(conn, 100, WORKTREES, 0)
        for statement in prepared.split(";"):
            conn.execute(statement.encode())
        for write, statement in WRITES.items():
            found = _parts(conn, statement, writes)
            for part, size in sorted(found.items(), key=lambda pair: -pair[1]):
                if size >= 1 and (side != COMPRESSED or part in {EVENT, ALL}):
                    report.add(f"{write}, {side}: {part}", "bytes", [size])
            if side == AS_IT_IS:
                _add_limit(conn, write, found, report)


def _parts(conn: psycopg.Connection, statement: str, writes: int) -> Mapping[str, float]:
    """Bytes of one write by table, index or kind of record; the last, `all`, has what is between records, too."""
    before = _position(conn)
    for number in range(writes):
        conn.execute(
            statement.encode(), {"worktree": worktree_id(number * 7_919 % WORKTREES), "number": number % 90 + 1}
        )
    after = _position(conn)
    found: dict[str, float] = defaultdict(float)
    for part, size in conn.execute(PARTS, {"before": before, "after": after}):
        found[part] += int(size) / writes
    return found | {ALL: sum(found.values())}


def _add_limit(conn: psycopg.Connection, write: str, found: Mapping[str, float], report: Report) -> None:
    """What of the event's row is its data, and how large the same row is as PostgreSQL stores it."""
    kind = "git_state_updated" if write == "update_worktree_git_state" else "logged"
    ((data, *forms),) = conn.execute(DATA, [kind]).fetchall()
    for what, size in zip(DATA_SIZES, (data, *forms), strict=True):
        report.add(f"{write}: {what}", "bytes", [float(size)])
    without_keys = found[ALL] - float(data) + float(forms[1])
    specified = sum(size for part, size in found.items() if not part.startswith(OURS) and part != ALL)
    less = {
        "the event's row alone": found[EVENT],
        "all, if its data had no keys": without_keys,
        "the tables and indexes of the specification alone": specified,
    }
    report.targets.append(bounded(Target(f"{write}, WAL", "bytes", found[ALL], at_most=LIMIT_BYTES), less))


def _position(conn: psycopg.Connection) -> str:
    row = conn.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    return str(row[0])
