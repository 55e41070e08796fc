"""CloudEvents 1.0 in structured mode: an outbox row to the bytes on the wire."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from registry.subjects import Names

CONTENT_TYPE = "application/cloudevents+json"
OUTBOX_ID_HEADER = "Imi-Outbox-Id"
HEADER_BYTES = 512
"""No message of ours has more bytes of headers than this (they are ids, numbers and fixed names: about 330)."""


class OutboxRow(NamedTuple):
    """One row of the outbox as `publisher/outbox.py` selects it; UUIDs and the time are already text."""

    id: int
    transaction_id: int
    event_id: str
    entity: str
    action: str
    project_id: str | None
    entity_id: str | None
    occurred_at: str
    actor: str | None
    correlation_id: str | None
    causation_id: str | None
    traceparent: str | None
    data: str


class Message(NamedTuple):
    """What is published: one subject, one payload, and the pair that recognises it later in the stream."""

    subject: str
    payload: bytes
    outbox_id: int
    event_id: str
    transaction_id: int
    is_reference: bool
    """Whether the event's data was too large to be in it."""
    row_key: str
    """The changed row; messages of one row must stay in order."""

    @property
    def size(self) -> int:
        """Bytes the server counts against its limits: payload and headers."""
        return len(self.payload) + HEADER_BYTES

    @property
    def headers(self) -> dict[str, str]:
        """NATS headers; `Nats-Msg-Id` is the event id."""
        return {
            "content-type": CONTENT_TYPE,
            "Nats-Msg-Id": self.event_id,
            OUTBOX_ID_HEADER: str(self.outbox_id),
        }


def encode(row: OutboxRow, max_bytes: int, *, names: Names, source: str) -> Message:
    """The message of one outbox row. `row.data` is embedded as PostgreSQL wrote it, never parsed.

    A message that would exceed `max_bytes`, the server's limit, goes out without `data` and with `dataref` instead: a
    URN of the outbox row that holds it (CloudEvents extension "dataref", the claim check pattern).
    """
    envelope: dict[str, object] = {
        "specversion": "1.0",
        "id": row.event_id,
        "source": source,
        "type": names.event_type(row.entity, row.action),
        "subject": f"{row.entity}/{row.entity_id}" if row.entity_id else row.entity,
        "time": row.occurred_at,
        "datacontenttype": "application/json",
        "dataschema": names.data_schema(row.entity, row.action),
        "correlationid": row.correlation_id or row.event_id,
        "causationid": row.causation_id,
        "sequence": f"{row.id:019d}",
        "transactionid": str(row.transaction_id),
    }
    if row.project_id is not None:
        envelope["partitionkey"] = row.project_id
    if row.actor is not None:
        envelope["actor"] = row.actor
    if row.traceparent is not None:
        envelope["traceparent"] = row.traceparent
    subject = names.event_subject(row.entity, row.action, row.project_id)
    payload = orjson.dumps(envelope | {"data": orjson.Fragment(row.data)})
    is_reference = len(payload) + HEADER_BYTES > max_bytes
    if is_reference:
        payload = orjson.dumps(envelope | {"dataref": f"urn:imi:registry:outbox:{row.event_id}"})
    return Message(subject, payload, row.id, row.event_id, row.transaction_id, is_reference, row.entity_id or "-")
