"""CloudEvents 1.0 in structured mode: an outbox row to the bytes on the wire, and back to an `Envelope`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Self
from uuid import UUID

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from registry.subjects import Names
from registry.validation import from_validation

CONTENT_TYPE = "application/cloudevents+json"
OUTBOX_ID_HEADER, EVENT_ID_HEADER = "Imi-Outbox-Id", "Nats-Msg-Id"
_OUTBOX_ID = re.compile(r"[0-9]{1,18}")
_EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HEADER_BYTES = 512
"""No message of ours has more bytes of headers than this (they are ids, numbers and fixed names: about 330)."""


class OutboxRow(NamedTuple):
    """One row of the outbox as `publisher/outbox/rows.py` selects it; UUIDs and the time are already text."""

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
    def headers(self) -> str:
        """NATS headers, as lines; `Nats-Msg-Id` is the event id."""
        return (
            f"content-type: {CONTENT_TYPE}\r\n"
            f"{EVENT_ID_HEADER}: {self.event_id}\r\n"
            f"{OUTBOX_ID_HEADER}: {self.outbox_id}\r\n"
        )


def identity(headers: Mapping[str, str]) -> tuple[int, str] | tuple[None, None]:
    """Outbox id and event id in the headers of an event; nothing in those of a message that cannot be one."""
    # nats-py gives a value that is not ASCII as an `email.header.Header`
    outbox_id, event_id = (str(headers.get(name, "")) for name in (OUTBOX_ID_HEADER, EVENT_ID_HEADER))
    if _OUTBOX_ID.fullmatch(outbox_id) and _EVENT_ID.fullmatch(event_id):
        return int(outbox_id), event_id
    return None, None


def encode(row: OutboxRow, max_bytes: int, *, names: Names, source: str, version: int = 1) -> Message:
    """The message of one outbox row. `row.data`, that of `version`, is embedded as PostgreSQL wrote it, never parsed.

    The envelope is written as text: a dictionary and a JSON library take four times as long, a quarter of the relay's
    time. Ids, the time and numbers come from typed columns; every other value is quoted by the library.

    A message that would exceed `max_bytes`, the server's limit, goes out without `data` and with `dataref` instead: a
    URN of the outbox row that holds it (CloudEvents extension "dataref", the claim check pattern).
    """
    kind = _kind(row.entity, row.action, version, names, source)
    subject = f"{kind.subject}/{row.entity_id}" if row.entity_id else kind.subject
    causation_id = f'"{row.causation_id}"' if row.causation_id else "null"
    envelope = (
        f'{{"specversion":"1.0","id":"{row.event_id}","source":{kind.source},"type":{kind.type},"subject":"{subject}",'
        f'"time":"{row.occurred_at}","datacontenttype":"application/json","dataschema":{kind.dataschema},'
        f'"correlationid":"{row.correlation_id or row.event_id}","causationid":{causation_id},'
        f'"sequence":"{row.id:019d}","transactionid":"{row.transaction_id}"'
    )
    if row.project_id is not None:
        envelope += f',"partitionkey":"{row.project_id}"'
    if row.actor is not None:
        envelope += f',"actor":{_json(row.actor)}'
    if row.traceparent is not None:
        envelope += f',"traceparent":{_json(row.traceparent)}'
    payload = f'{envelope},"data":{row.data}}}'.encode()
    is_reference = len(payload) + HEADER_BYTES > max_bytes
    if is_reference:
        payload = f'{envelope},"dataref":"urn:imi:registry:outbox:{row.event_id}"}}'.encode()
    return Message(
        names.event_subject(row.entity, row.action, row.project_id),
        payload,
        row.id,
        row.event_id,
        row.transaction_id,
        is_reference,
        row.entity_id or "-",
    )


class _Kind(NamedTuple):
    """What the envelopes of all events of one kind have in common, as JSON; `subject` is without quotes."""

    source: str
    type: str
    dataschema: str
    subject: str


@lru_cache
def _kind(entity: str, action: str, version: int, names: Names, source: str) -> _Kind:
    return _Kind(
        _json(source),
        _json(names.event_type(entity, action, version)),
        _json(names.data_schema(entity, action, version)),
        _json(entity)[1:-1],
    )


def _json(text: str) -> str:
    return orjson.dumps(text).decode()


class Envelope(BaseModel):
    """A registry event: CloudEvents 1.0, JSON format, structured mode.

    An attribute that is null is not set. Exactly one of `data` and `dataref` is there. Ignore what is not listed.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        json_schema_extra={
            "oneOf": [{"required": ["data"]}, {"required": ["dataref"]}],
            "examples": [
                {
                    "specversion": "1.0",
                    "id": "7d1f3f0c-5a59-4f08-8f5c-0f1f6a1e2b3c",
                    "source": "urn:imi:registry",
                    "type": "imi.registry.truncated.v1",
                    "subject": "registry",
                    "time": "2026-01-21T10:00:00.123456Z",
                    "datacontenttype": "application/json",
                    "dataschema": "urn:imi:registry:event:registry.truncated:v1",
                    "correlationid": "7d1f3f0c-5a59-4f08-8f5c-0f1f6a1e2b3c",
                    "causationid": None,
                    "sequence": "0000000000000000042",
                    "transactionid": "777",
                    "data": {"table": "agent_activities"},
                }
            ],
        },
    )

    specversion: Literal["1.0"]
    """Version of CloudEvents."""
    id: UUID
    """Id of the event, the same whenever and wherever it is sent; also the header Nats-Msg-Id."""
    source: Annotated[str, StringConstraints(min_length=1)]
    """Which registry it comes from."""
    type: Annotated[str, StringConstraints(pattern=r"^imi\.[a-z_]+\.[a-z_]+\.v[1-9][0-9]*$")]
    """imi.<entity>.<action>.v<major version>"""
    subject: Annotated[str, StringConstraints(min_length=1)]
    """<entity>/<id> of the changed row, or <entity> where it has no UUID."""
    time: AwareDatetime
    """When the change was made, in UTC, by the clock of PostgreSQL."""
    datacontenttype: Literal["application/json"]
    """What `data` is."""
    dataschema: str
    """`$id` of the JSON Schema of `data`."""
    correlationid: UUID
    """The conversation it belongs to: what the writer said, else the event's own id."""
    causationid: UUID | None
    """Id of the command or event that made the writer write."""
    sequence: Annotated[str, StringConstraints(pattern=r"^[0-9]{19}$")]
    """Position in the outbox; comparable as text. Ascending per row, not gapless."""
    transactionid: Annotated[str, StringConstraints(pattern=r"^[0-9]+$")]
    """The database transaction; the events of one were committed together."""
    partitionkey: UUID | None = None
    """Id of the project."""
    actor: str | None = None
    """Who made the change, where the writer said so."""
    traceparent: (
        Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")] | None
    ) = None
    """W3C trace context of the writer."""
    data: dict[str, Any] | None = None
    """What happened; described by `dataschema`."""
    dataref: Annotated[str, StringConstraints(pattern=r"^urn:imi:registry:outbox:[0-9a-f-]{36}$")] | None = None
    """In place of data that is larger than a message may be: urn:imi:registry:outbox:<event id>."""

    @model_validator(mode="after")
    def _has_data_or_reference(self) -> Self:
        if (self.data is None) == (self.dataref is None):
            raise ValueError("exactly one of data and dataref must be there")
        return self


def parse_envelope(payload: bytes) -> Envelope:
    """Read an envelope. Raises `Invalid` naming the field, the value and the rule."""
    try:
        return Envelope.model_validate_json(payload)
    except ValidationError as error:
        raise from_validation(error, "event") from error
