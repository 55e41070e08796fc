"""The fence: every publish carries the sequence the stream must end at, so whoever was overtaken is refused.

A second writer, or a message of ours that was believed lost and arrives late, finds the stream further on than it says.
Two forms: many messages as one atomic batch (NATS ADR-50), or each as a request of its own that follows the one before.
The argument: docs/adr/0001-outbox-and-relay.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import uuid4

from publisher.stream.protocol import publish
from registry.events.message import Message

LAST_SEQUENCE = "Nats-Expected-Last-Sequence"


def atomic_batch(messages: Sequence[Message], expected: int, reply: str) -> Iterator[bytes]:
    """The commands that store `messages` directly behind sequence `expected`, all or none; one answer, to `reply`."""
    batch_id = uuid4().hex
    for number, message in enumerate(messages, start=1):
        headers = f"{message.headers}Nats-Batch-Id: {batch_id}\r\nNats-Batch-Sequence: {number}\r\n"
        if number == 1:
            headers += f"{LAST_SEQUENCE}: {expected}\r\n"
        if number == len(messages):
            headers += "Nats-Batch-Commit: 1\r\n"
        yield publish(message, headers, reply if number == len(messages) else "")


def one_by_one(messages: Sequence[Message], expected: int, reply: str) -> Iterator[bytes]:
    """The commands that store `messages` behind `expected`, each only behind the one before; an answer for each."""
    for number, message in enumerate(messages):
        headers = f"{message.headers}{LAST_SEQUENCE}: {expected + number}\r\n"
        if number > 0:
            headers += f"Nats-Expected-Last-Msg-Id: {messages[number - 1].event_id}\r\n"
        yield publish(message, headers, reply)
