"""CloudEvents 1.0 in structured mode: an outbox row to the bytes on the wire."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from registry.subjects import Names

CONTENT_TYPE = "application/cloudevents+json"
OUTBOX_ID_HEADER = "Imi-Outbox-Id"


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
    data: bytes


class Message(NamedTuple):
    """What is published: one subject, one payload, and the pair that recognises it later in the stream."""

    subject: str
    payload: bytes
    outbox_id: int
    event_id: str

    @property
    def headers(self) -> dict[str, str]:
        """NATS headers; `Nats-Msg-Id` is the event id."""
        return {
            "content-type": CONTENT_TYPE,
            "Nats-Msg-Id": self.event_id,
            OUTBOX_ID_HEADER: str(self.outbox_id),
        }


def encode(row: OutboxRow, names: Names, source: str) -> Message:
    """The message of one outbox row. `row.data` is embedded as PostgreSQL wrote it, never parsed."""
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
    envelope["data"] = orjson.Fragment(row.data)
    return Message(
        names.event_subject(row.entity, row.action, row.project_id), orjson.dumps(envelope), row.id, row.event_id
    )
