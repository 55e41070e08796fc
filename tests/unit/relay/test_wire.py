"""Publish commands as a NATS server reads them."""

from __future__ import annotations

import nats.errors
import pytest

from publisher.stream import protocol
from registry.events.message import FIRST_TIME, Message


def message(subject: str = "imi.evt.v1.project.updated.-", payload: bytes = b"{}") -> Message:
    return Message(subject, payload, 1, "id", 1, is_reference=False, row_key="-", occurred_at=FIRST_TIME)


def test_sizes_are_those_of_headers_and_of_all() -> None:
    payload = "ä\r\n".encode()
    command = protocol.publish(message(payload=payload), "A: b\r\n", "_INBOX.x")
    line, _, rest = command.partition(b"\r\n")
    verb, subject, reply, header_size, size = line.decode().split(" ")
    assert (verb, subject, reply) == ("HPUB", "imi.evt.v1.project.updated.-", "_INBOX.x")
    headers, body = rest[: int(header_size)], rest[int(header_size) :]
    assert headers == b"NATS/1.0\r\nA: b\r\n\r\n"
    assert int(size) == len(headers) + len(payload)
    assert body == payload + b"\r\n"


@pytest.mark.parametrize("subject", ["a b", "a\r\nPUB x 0\r\n\r\n", "a\tb", ""])
def test_a_subject_cannot_end_the_command(subject: str) -> None:
    with pytest.raises(nats.errors.BadSubjectError):
        protocol.publish(message(subject), "", "")
