"""What is published of an outbox row, and how an event of ours is known again by its headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from registry.events.reference import Omission

CONTENT_TYPE = "application/cloudevents+json"
OUTBOX_ID_HEADER, EVENT_ID_HEADER = "Imi-Outbox-Id", "Nats-Msg-Id"
HOST_HEADER = "Imi-Host-Id"
"""There as the attribute `hostid` is: for who sorts messages without a look at their payload."""
_OUTBOX_ID = re.compile(r"[0-9]{1,18}")
_EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HEADER_BYTES = 512
"""No message of ours has more bytes of headers than this (they are ids, numbers and fixed names: about 380)."""


FIRST_TIME, LAST_TIME = "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"
"""What RFC 3339 can say. A time before or behind it, infinity too, is told as the nearer one of these."""


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
    data: str | None
    """None where it was not read: because it is not short, or as `omission` tells."""
    actor_is_verified: bool = False
    """Whether the applier knew who sent the command, and that he may act as `actor`."""
    host_id: str | None = None
    """None for the default host."""
    omission: Omission | None = None


class Message(NamedTuple):
    """What is published: one subject, one payload, and the pair that recognises it later in the stream."""

    subject: str
    payload: bytes
    outbox_id: int
    event_id: str
    transaction_id: int
    is_reference: bool
    """Whether the event's data is not in it."""
    row_key: str
    """The changed row; messages of one row must stay in order."""
    occurred_at: str
    """When it changed, in RFC 3339."""
    omission: Omission | None = None
    """Why, when it is a reference."""
    traceparent: str | None = None
    """What the writer said it belongs to."""
    host_id: str | None = None
    """The host it is of; None for the default one."""
    outcome_of: str | None = None
    """The command whose outcome it tells."""
    causation_id: str | None = None
    """What made the writer do it; of what a command did, the command."""

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
        ) + (f"{HOST_HEADER}: {self.host_id}\r\n" if self.host_id is not None else "")


def identity(headers: Mapping[str, str]) -> tuple[int, str] | tuple[None, None]:
    """Outbox id and event id in the headers of an event; nothing in those of a message that cannot be one."""
    # nats-py gives a value that is not ASCII as an `email.header.Header`
    outbox_id = str(headers.get(OUTBOX_ID_HEADER, ""))
    event_id = str(headers.get(EVENT_ID_HEADER, ""))
    if _OUTBOX_ID.fullmatch(outbox_id) and _EVENT_ID.fullmatch(event_id):
        return int(outbox_id), event_id
    return None, None
