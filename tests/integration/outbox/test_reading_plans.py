"""What relay, retention and history read of the outbox is what they need, however much it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.types.numeric import Int4, Int8

from publisher.history import snapshot as snapshots
from publisher.outbox import faults, known, record
from publisher.outbox.connection import LEADER, READER, connect
from publisher.outbox.page import PAGE, Unseen
from publisher.outbox.rows import KNOWN, WHOLE
from registry.events.reference import TOO_LARGE

ROWS = 20_000
STREAM = "IMI_EVENTS"
FILL = """
INSERT INTO outbox (id, transaction_id, event_id, entity, action, occurred_at, data)
OVERRIDING SYSTEM VALUE
SELECT n, pg_current_xact_id(), gen_random_uuid(), 'project', 'updated', now(), '{}'
FROM generate_series(1, %(rows)s) AS n
"""
RECORD = """
INSERT INTO published_batch (stream, last_sequence, ids, published_at)
SELECT %(stream)s, 1000 * n, ARRAY[int8range(1000 * n - 999, 1000 * n + 1)], now() - interval '91 days'
FROM generate_series(1, %(rows)s / 1000) AS n
"""
CURSOR = """
INSERT INTO publisher_cursor (stream, published, stream_sequence)
VALUES (%(stream)s, int8multirange(int8range(1, %(rows)s + 1)), %(rows)s)
"""
ANY_FILTER = dict.fromkeys(("entity", "action", "project_id", "host_id", "correlation_id", "since", "until"))
SHORT = {"short": Int8(4096)}
QUERIES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "page at the end": (
        LEADER,
        PAGE,
        Unseen([], ROWS + 1).values(1000) | SHORT,
        0,
    ),
    "page of a backlog": (
        LEADER,
        PAGE,
        Unseen([], 100).values(1000) | SHORT,
        1000,
    ),
    "page of a gap": (
        LEADER,
        PAGE,
        Unseen([(5, 9)], ROWS + 1).values(1000) | SHORT,
        4,
    ),
    "step of retention": (LEADER, "forget_published", {"p_keep": timedelta(days=90), "p_most": 1000}, 1000),
    "page of history": (READER, record.ROWS, {"ids": list(range(10_000, 12_000)), **ANY_FILTER, **SHORT}, 2000),
    "a row alone": (LEADER, WHOLE, {"id": Int8(100), "most": Int8(1000), "slice": Int4(1000)}, 1),
    "faults": (READER, faults.NOTED, {"limit": 20, "too_large": TOO_LARGE}, 0),
    "known events": (READER, KNOWN, {"ids": [7], "event_ids": ["6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01"]}, 1),
    "doctor": (READER, known.KNOWN, {"stream": STREAM, "most": known.MOST_WAITING}, 0),
    "position of a snapshot": (READER, snapshots.POSITION, {"stream": STREAM}, 0),
}


@pytest.fixture
def filled(database: str) -> str:
    """A database with many old, published events."""
    with psycopg.connect(database) as conn:
        for query in (FILL, RECORD, CURSOR):
            conn.execute(query, {"rows": ROWS, "stream": STREAM})
        conn.execute("SELECT setval('outbox_id_seq', %s)", [ROWS])
        conn.execute("ANALYZE")
    return database


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


async def body_of(conn: AsyncConnection, function: str, parameters: dict[str, Any]) -> str:
    """The query that a function of plpgsql begins with."""
    row = await (await conn.execute("SELECT prosrc FROM pg_proc WHERE proname = %s", [function])).fetchone()
    assert row is not None
    query = str(row[0]).partition("BEGIN\n")[2].split("INTO events")[0]
    return re.sub("|".join(parameters), lambda match: f"%({match[0]})s", query)


async def plan_of(conn: AsyncConnection, query: str, values: dict[str, Any]) -> dict[str, Any]:
    """The plan that PostgreSQL really ran; what it changed is taken back."""
    async with conn.transaction(force_rollback=True):
        explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT json) {query}".encode()
        row = await (await conn.execute(explain, values)).fetchone()
    assert row is not None
    return dict(row[0][0]["Plan"])


@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_reads_no_more_of_the_outbox_than_it_needs(filled: str, name: str) -> None:
    session, query, values, most = QUERIES[name]
    async with connect(filled, "test", session) as conn:
        plan = await plan_of(conn, query if " " in query else await body_of(conn, query, values), values)
    scans = [
        node for node in nodes(plan) if node.get("Relation Name") == "outbox" and node["Node Type"] != "ModifyTable"
    ]
    assert scans, "the outbox is read"
    for scan in scans:
        assert scan["Node Type"] in {"Index Scan", "Index Only Scan"}, scan
        removed = scan.get("Rows Removed by Filter", 0) + scan.get("Rows Removed by Index Recheck", 0)
        assert (scan["Actual Rows"] + removed) * scan["Actual Loops"] <= most, scan
