"""The envelope of an event, as a reader takes it: CloudEvents 1.0 in structured mode."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from registry import exact
from registry.errors import Invalid
from registry.events.reference import URN
from registry.validation import from_validation, printable, told


class Envelope(BaseModel):
    """A registry event: CloudEvents 1.0, JSON format, structured mode.

    An attribute that is not set is left out, or null. Exactly one of `data` and `dataref` is there. Ignore others.
    """

    model_config = ConfigDict(
        defer_build=True,
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "oneOf": [
                {"properties": {"data": {"type": "object"}}, "required": ["data"]},
                {"properties": {"dataref": {"type": "string"}}, "required": ["dataref"]},
            ],
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
    causationid: UUID | None = None
    """Id of the command or event that made the writer write."""
    sequence: Annotated[str, StringConstraints(pattern=r"^[0-9]{19}$")]
    """Position in the outbox; comparable as text. Ascending per row, not gapless."""
    transactionid: Annotated[str, StringConstraints(pattern=r"^[0-9]+$")]
    """The database transaction; the events of one were committed together."""
    partitionkey: UUID | None = None
    """Id of the project."""
    hostid: UUID | None = None
    """Id of the host of the worktree, or of what is on none, of the writer; left out for the default host."""
    actor: str | None = None
    """Who made the change, where the writer said so."""
    actorverified: bool | None = None
    """True where the registry knew the sender of the command, who may act as this actor; a claim otherwise."""
    traceparent: (
        Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")] | None
    ) = None
    """W3C trace context of the writer."""
    data: dict[str, Any] | None = None
    """What happened; described by `dataschema`."""
    dataref: Annotated[str, StringConstraints(pattern=rf"^{URN}[0-9a-f-]{{36}}$")] | None = None
    """In place of data that cannot be in the message: urn:imi:registry:outbox:<event id>."""
    datarefreason: Annotated[str, StringConstraints(pattern=r"^[a-z_]+$")] | None = None
    """Why there is `dataref`: too_large, unreadable, invalid or invalid_time."""

    @model_validator(mode="after")
    def _has_data_or_reference(self) -> Self:
        if (self.data is None) == (self.dataref is None):
            raise ValueError("exactly one of data and dataref must be there")
        return self


def attributes_of(payload: bytes) -> dict[str, Any]:
    """The attributes of an event in either profile, unchecked but for what every reader looks at. Raises `Invalid`.

    Anybody may write to a stream: `id`, `type`, `subject` and `time` are there, and `data`, if it is, is an object.
    """
    try:
        attributes = exact.loads(payload)
        if not isinstance(attributes, dict):
            raise Invalid("event: input should be an object")
        for name in ("id", "type", "subject", "time"):
            if not isinstance(attributes.get(name), str):
                raise Invalid(f"event: {name}: {printable(attributes.get(name))}: it must be text")
        if attributes["type"].count(".") < 3:
            raise Invalid(f"event: type: {printable(attributes['type'])}: it must have four parts")
        if datetime.fromisoformat(attributes["time"]).tzinfo is None:
            raise Invalid(f"event: time: {printable(attributes['time'])}: it must have a zone")
    except ValueError as error:
        raise Invalid(f"event: it cannot be read: {told(str(error))}") from error
    if not isinstance(attributes.get("data") or {}, dict):
        raise Invalid("event: data: it must be an object")
    return attributes


def parse_envelope(payload: bytes) -> Envelope:
    """Read an envelope. Raises `Invalid` naming the field, the value and the rule."""
    try:
        attributes = exact.loads(payload)
        if not isinstance(attributes, dict):
            raise Invalid("event: input should be an object")
        return Envelope.model_validate(attributes)
    except ValidationError as error:
        raise from_validation(error, "event") from error
    except ValueError as error:
        raise Invalid(f"event: invalid JSON: {error}") from error
