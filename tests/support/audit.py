"""Compare the event stream itself, message by message, with the outbox: the promise of the relay, checked in full.

Nothing a consumer would deduplicate or reorder hides anything here: every stored message is read, in sequence order.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import NamedTuple

import orjson
import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg
from psycopg.conninfo import conninfo_to_dict

from publisher.relay.batching import MAX_BATCH_BYTES
from registry.events.message import HEADER_BYTES, OUTBOX_ID_HEADER
from registry.subjects import Names
from tests.support.nats.reading import connected, messages

FETCHED_ROWS = 100
COMPARED_BYTES = 8 * 1024 * 1024
"""An event with more data than this is a reference wherever it is published."""
ENVELOPE_BYTES = 1024
"""An envelope without its data has less than this."""

OUTBOX = """
SELECT
    id,
    event_id::text,
    transaction_id::text,
    CASE
        WHEN entity = 'command' THEN concat(transaction_id, ' ', entity_id, ' outcome')
        WHEN bool_or(entity = 'command') OVER of_it THEN concat(transaction_id, ' ', causation_id)
        ELSE transaction_id::text
    END,
    entity,
    action,
    project_id::text,
    CASE
        WHEN entity = 'project_host' THEN concat(entity_id, ' ', data ->> 'host_id')
        ELSE coalesce(entity_id::text, data ->> 'type_id', data ->> 'table', event_id::text)
    END,
    octet_length(text),
    CASE WHEN octet_length(text) <= %(most)s THEN text ELSE '{}' END
FROM (SELECT *, data::text AS text FROM outbox OFFSET 0) AS outbox
WINDOW of_it AS (PARTITION BY transaction_id)
ORDER BY id
"""

PROGRESS = """
SELECT cursor.published, ids.last_value, ids.is_called
FROM outbox_id_seq AS ids
LEFT JOIN publisher_cursor AS cursor ON cursor.stream = %s
"""


class Audit(NamedTuple):
    """What the comparison found. Numbers are outbox ids, unless said otherwise."""

    events: int
    """Rows in the outbox."""
    lost: list[int]
    """Not in the stream."""
    duplicated: list[int]
    """More than once in the stream."""
    out_of_order: list[int]
    """Behind an event of the same registry row that has a higher id, or behind the outcome of their command."""
    foreign: int
    """Messages in the stream that are no event of this outbox."""
    differing: list[str]
    """Where a message does not say what its outbox row says, in words."""
    split: list[str]
    """Units that fit into one batch and are spread over several: what one transaction changed, or in a transaction of
    commands one of these."""

    def assert_clean(self, *, foreign: int = 0, at_least: int = 1) -> None:
        """Fail unless every event is in the stream once, in order and as it is in the outbox.

        `foreign` messages are expected beside them, and at least `at_least` events: an empty outbox proves nothing.
        """
        assert self._replace(events=0) == Audit(0, [], [], [], foreign, [], []), self
        assert self.events >= at_least, f"only {self.events} events were written"


class Row(NamedTuple):
    """One outbox row, without its data."""

    id: int
    transaction_id: str
    unit: str
    """What must be stored together."""
    entity: str
    action: str
    project_id: str | None
    registry_row: str
    data_bytes: int
    digest: bytes


async def audit(database_url: str, nats_url: str, prefix: str) -> Audit:
    """Compare the whole event stream with the whole outbox. Nothing may be writing."""
    async with connected(nats_url) as client:
        return await compared(database_url, client, prefix)


async def compared(database_url: str, client: Client, prefix: str) -> Audit:
    """As `audit`, over the connection of who may read the whole stream."""
    names = Names(prefix)
    rows = await _outbox(database_url)
    seen: Counter[str] = Counter()
    highest: dict[tuple[str, str], int] = {}
    told: set[str] = set()
    batches: dict[str, set[str]] = {}
    out_of_order: list[int] = []
    differing: list[str] = []
    foreign = 0
    async for message in messages(client, names.event_stream):
        headers = message.headers or {}
        event_id = headers.get("Nats-Msg-Id", "")
        row = rows.get(event_id)
        if row is None:
            foreign += 1
            continue
        seen[event_id] += 1
        key = (row.entity, row.registry_row)
        if row.id < highest.get(key, 0):
            out_of_order.append(row.id)
        highest[key] = max(row.id, highest.get(key, 0))
        told.add(row.unit)
        if f"{row.unit} outcome" in told:
            out_of_order.append(row.id)
        differing += _differences(message, row, event_id, names, client.max_payload)
        # A message that went alone has no batch: it is one of its own.
        batch = headers.get("Nats-Batch-Id", str(message.metadata.sequence.stream))
        batches.setdefault(row.unit, set()).add(batch)
    return Audit(
        events=len(rows),
        lost=[row.id for event_id, row in rows.items() if event_id not in seen],
        duplicated=[rows[event_id].id for event_id, times in seen.items() if times > 1],
        out_of_order=out_of_order,
        foreign=foreign,
        differing=differing,
        split=_split(rows, batches),
    )


async def is_published(conn: psycopg.AsyncConnection, stream: str) -> bool:
    """Whether every outbox id handed out is published or dead: the cursor is the one range [1, last id + 1)."""
    found = await conn.execute(PROGRESS, [stream])
    published, last_id, is_called = await found.fetchone() or (None, 0, False)
    return is_called and [(part.lower, part.upper) for part in published or []] == [(1, last_id + 1)]


async def wait_until_published(database_url: str, stream: str, timeout_seconds: float = 120) -> None:
    """Wait until `is_published`."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        try:
            async with asyncio.timeout(timeout_seconds):
                while not await is_published(conn, stream):
                    await asyncio.sleep(0.01)  # the cursor tells nobody when it moves
        except TimeoutError:
            found = await (await conn.execute(PROGRESS, [stream])).fetchone()
            raise AssertionError(f"not all published within {timeout_seconds:g} s: cursor, last id {found}") from None


async def _outbox(database_url: str) -> dict[str, Row]:
    """Every row by its event id."""
    rows = {}
    conninfo = {**conninfo_to_dict(database_url), "options": "-c timezone=UTC"}
    async with (
        await psycopg.AsyncConnection.connect(**conninfo) as conn,
        conn.cursor(name="audit") as cursor,
    ):
        cursor.itersize = FETCHED_ROWS
        await cursor.execute(OUTBOX, {"most": COMPARED_BYTES})
        async for number, event_id, *told, size, data in cursor:
            rows[event_id] = Row(number, *told, size, _digest(orjson.loads(data)))
    return rows


def _differences(message: Msg, row: Row, event_id: str, names: Names, max_payload: int) -> list[str]:
    envelope = orjson.loads(message.data)
    headers = message.headers or {}
    expected = {
        "header": (headers.get(OUTBOX_ID_HEADER), str(row.id)),
        "subject": (message.subject, names.event_subject(row.entity, row.action, row.project_id)),
        "id": (envelope.get("id"), event_id),
        "sequence": (envelope.get("sequence"), f"{row.id:019d}"),
        "transactionid": (envelope.get("transactionid"), row.transaction_id),
        "type": (envelope.get("type"), names.event_type(row.entity, row.action)),
    }
    found = [f"event {row.id}: {name} is {is_}, not {ought}" for name, (is_, ought) in expected.items() if is_ != ought]
    if "dataref" in envelope:
        if "data" in envelope or envelope["dataref"] != f"urn:imi:registry:outbox:{event_id}":
            found.append(f"event {row.id}: dataref {envelope['dataref']}")
        if row.data_bytes + HEADER_BYTES + ENVELOPE_BYTES <= max_payload:
            found.append(f"event {row.id}: a reference, although its {row.data_bytes} bytes fit")
    elif _digest(envelope.get("data")) != row.digest:
        found.append(f"event {row.id}: other data than in the outbox")
    return found


def _split(rows: dict[str, Row], batches: dict[str, set[str]]) -> list[str]:
    sizes: Counter[str] = Counter()
    events: Counter[str] = Counter()
    for row in rows.values():
        sizes[row.unit] += row.data_bytes + ENVELOPE_BYTES + HEADER_BYTES
        events[row.unit] += 1
    return [
        unit
        for unit, found in batches.items()
        if len(found) > 1 and events[unit] <= 1000 and sizes[unit] <= MAX_BATCH_BYTES
    ]


def _digest(data: object) -> bytes:
    return hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).digest()
