"""A command on the wire, and the answer to it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from registry.validation import INBOX, MOST_NAMED, NOT_EMPTY

PROJECT_ID = "6f1c2a52-93a5-4b0c-9f0b-0a4c3a1d7e11"
"""Of the project in examples."""
Verdict = Literal["applied", "idempotent", "rejected"]
Code = Literal["VALIDATION_ERROR", "NOT_FOUND", "CONFLICT", "INTERNAL_ERROR"]

Attribute = Annotated[str, Field(min_length=1, pattern=NOT_EMPTY)]


MOST_INBOX_CHARACTERS = 250
NO_ID = UUID(int=0)
"""`command_id` of the outcome of a message whose own id cannot be read: the nil UUID of RFC 9562."""


class CommandEnvelope(BaseModel):
    """A command on the wire: CloudEvents 1.0, JSON format, structured mode. Extension attributes are allowed."""

    model_config = ConfigDict(
        defer_build=True,
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "specversion": "1.0",
                    "id": "0d1f6c0e-6f4f-4f6e-8a0e-3f1d0a4f7c55",
                    "source": "urn:33god:flume",
                    "type": "imi.project.deactivate.v1",
                    "replyto": "_INBOX.4Y3uK0",
                    "data": {"project_id": PROJECT_ID},
                }
            ]
        },
    )

    specversion: Literal["1.0"] = Field(description="Version of CloudEvents.")
    id: UUID = Field(description="Id of the command: the same in every attempt to send it.")
    source: Attribute = Field(description="Who sends it.")
    type: Annotated[str, Field(pattern=r"^imi\.[a-z_]+\.[a-z_]+\.v[0-9]+$")] = Field(
        description="imi.<entity>.<verb>.v<major version>, agreeing with the subject."
    )
    data: dict[str, Any] = Field(description="What the command is about: see the schema of its type.")
    time: datetime | None = Field(default=None, description="When it was sent.")
    datacontenttype: str | None = Field(default=None, description="application/json")
    dataschema: str | None = Field(default=None, description="URN of the schema of data.")
    subject: str | None = Field(default=None, description="Whatever the sender wants to call it.")
    correlationid: UUID | None = Field(default=None, description="Conversation it belongs to; its own id by default.")
    causationid: UUID | None = Field(default=None, description="Id of the message that made the sender send it.")
    actor: Annotated[Attribute, Field(max_length=MOST_NAMED)] | None = Field(
        default=None, description="Who wants it done: a person or an agent."
    )
    traceparent: str | None = Field(default=None, description="W3C trace context.")
    idempotencykey: Annotated[Attribute, Field(max_length=MOST_NAMED)] | None = Field(
        default=None, description="Two commands of a sender with the same key are one, whatever their ids."
    )
    replyto: Annotated[str, Field(pattern=INBOX, max_length=MOST_INBOX_CHARACTERS)] | None = Field(
        default=None, description="NATS inbox the outcome is sent to."
    )


class Outcome(BaseModel):
    """The answer to a command."""

    model_config = ConfigDict(
        defer_build=True,
        json_schema_serialization_defaults_required=True,
        json_schema_extra={
            "examples": [
                {
                    "command_id": "0d1f6c0e-6f4f-4f6e-8a0e-3f1d0a4f7c55",
                    "verdict": "applied",
                    "code": None,
                    "message": "applied",
                    "result": {"project_id": PROJECT_ID},
                }
            ]
        },
    )

    command_id: UUID = Field(
        description="Id of the command that was carried out, or refused; all zeros where the message has none."
    )
    verdict: Verdict = Field(description="applied; idempotent: it was so already; rejected: nothing was changed.")
    code: Code | None = Field(default=None, description="Why it was rejected.")
    message: str = Field(default="", description="The same for people: the field, the value, the rule.")
    result: dict[str, Any] | None = Field(default=None, description="Ids of what the command was applied to.")


def command_type(name: str, version: int = 1) -> str:
    """CloudEvents `type` of the command `name`."""
    return f"imi.{name}.v{version}"
