"""What the relay adds to the traces of writers: that their events were published, and when."""

from __future__ import annotations

from collections.abc import Sequence

from registry import tracing
from registry.events.message import Message


def trace(stream: str, messages: Sequence[Message], sent_ns: int) -> None:
    """Tell of each message whose writer has a trace that it was sent at `sent_ns`, and is stored now."""
    for message in messages:
        if message.traceparent is not None:
            attributes: dict[str, str | int] = {
                "messaging.system": "nats",
                "messaging.operation.type": "send",
                "messaging.destination.name": message.subject,
                "messaging.message.id": message.event_id,
                "imi.outbox_id": message.outbox_id,
            }
            tracing.begin(f"publish {stream}", "producer", message.traceparent, attributes, sent_ns).end()
