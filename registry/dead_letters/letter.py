"""A dead letter as it is stored: the event as it was published, and headers that say what became of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from registry.errors import Invalid
from registry.events.envelope import attributes_of
from registry.events.filter import what_happened

REASON, SUBJECT, SEQUENCE, ATTEMPTS = "Imi-Reason", "Imi-Subject", "Imi-Stream-Sequence", "Imi-Attempts"
"""Headers of every dead letter, of a command or of an event."""
EVENT_ID, FIRST_FAILED, LAST_FAILED = "Imi-Event-Id", "Imi-First-Failed", "Imi-Last-Failed"
OURS = {REASON, SUBJECT, SEQUENCE, ATTEMPTS, EVENT_ID, FIRST_FAILED, LAST_FAILED}
REASON_LENGTH = 500
_SENDABLE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""Names of headers that nats-py sends; it receives others, too."""
UNKNOWN = datetime.fromtimestamp(0, UTC)
"""A time that a letter of somebody else does not tell."""


class Failure(NamedTuple):
    """Why an event became a dead letter."""

    reason: str
    attempts: int
    """How often a handler failed on it, in all."""
    first_failed_at: datetime
    failed_at: datetime


class Redelivery(NamedTuple):
    """Somebody asked that a dead letter is handled once more."""

    number: int
    """Sequence of the request in the stream."""
    event_id: str
    actor: str
    asked_at: datetime


class DeadLetter(NamedTuple):
    """An event whose handler failed until it was put aside."""

    durable: str
    """The subscription whose handler it was."""
    number: int
    """Its sequence in the stream of dead letters; one that fails again gets a new number."""
    event_id: str
    subject: str
    """What it was published on."""
    sequence: int
    """Its place in the event stream."""
    failure: Failure
    headers: dict[str, str]
    """Those it was published with, but for NATS' own."""
    payload: bytes
    """The bytes of its envelope."""
    redelivery: Redelivery | None = None
    """Asked for and not carried out yet."""

    @property
    def event_name(self) -> str:
        """`<entity>.<action>`, or the subject of an event that cannot be read."""
        try:
            entity, action, _ = what_happened(attributes_of(self.payload))
        except Invalid:
            return self.subject
        return f"{entity}.{action or '?'}"

    def document(self) -> dict[str, Any]:
        """All of it as a JSON object, for command line and console; bytes that are no text are escaped."""
        failure, redelivery = self.failure, self.redelivery
        return {
            "durable": self.durable,
            "number": self.number,
            "event": self.event_name,
            "event_id": self.event_id,
            "subject": self.subject,
            "sequence": self.sequence,
            "reason": failure.reason,
            "attempts": failure.attempts,
            "first_failed_at": failure.first_failed_at.isoformat(),
            "failed_at": failure.failed_at.isoformat(),
            "redelivery": redelivery and {"actor": redelivery.actor, "asked_at": redelivery.asked_at.isoformat()},
            "headers": self.headers,
            "payload": self.payload.decode(errors="backslashreplace"),
        }


def sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a message that can be sent on with it: none of those that tell NATS what to do with it."""
    return {
        name: str(value)
        for name, value in headers.items()
        if not name.startswith("Nats-") and _SENDABLE.fullmatch(name)
    }


def one_line(reason: str, length: int = REASON_LENGTH) -> str:
    """An error as the value of a header: one line of ASCII."""
    return " ".join(reason.split()).encode("ascii", "backslashreplace").decode()[:length]


def number_in(text: str | None) -> int:
    """The number in a header of ours; 0 in a message that somebody else stored there."""
    return int(text) if text and len(text) < 20 and text.isascii() and text.isdecimal() else 0


def headers_of(letter: DeadLetter, most_bytes: int) -> dict[str, str]:
    """The headers of the message that holds `letter`; the reason is as long as a message of `most_bytes` leaves it.

    What is said beside it takes no more than was kept free for the headers that the event itself had.
    """
    failure = letter.failure
    headers = letter.headers | {
        SUBJECT: letter.subject,
        SEQUENCE: str(letter.sequence),
        ATTEMPTS: str(failure.attempts),
        EVENT_ID: letter.event_id,
        FIRST_FAILED: failure.first_failed_at.isoformat(timespec="milliseconds"),
        LAST_FAILED: failure.failed_at.isoformat(timespec="milliseconds"),
    }
    used = sum(len(name) + len(value.encode()) + len(": \r\n") for name, value in headers.items())
    free = most_bytes - len(letter.payload) - used - len(f"NATS/1.0\r\n{REASON}: \r\n\r\n")
    reason = one_line(failure.reason, max(min(free, REASON_LENGTH), 0))
    return headers | {REASON: reason} if reason else headers


def letter_in(durable: str, number: int, headers: Mapping[str, str], payload: bytes) -> DeadLetter:
    """The dead letter that a message holds."""
    texts = {name: str(value) for name, value in headers.items()}
    failure = Failure(
        texts.get(REASON, ""),
        number_in(texts.get(ATTEMPTS)),
        _time(texts.get(FIRST_FAILED)),
        _time(texts.get(LAST_FAILED)),
    )
    return DeadLetter(
        durable,
        number,
        texts.get(EVENT_ID, ""),
        texts.get(SUBJECT, ""),
        number_in(texts.get(SEQUENCE)),
        failure,
        {name: value for name, value in texts.items() if name not in OURS and not name.startswith("Nats-")},
        payload,
    )


def redelivery_in(number: int, event_id: str, payload: bytes) -> Redelivery:
    """The request that a message holds; of somebody else's, no more than that it is one."""
    try:
        said = orjson.loads(payload)
        actor, asked_at = str(said["actor"]), str(said["at"])
    except (ValueError, TypeError, KeyError):
        actor, asked_at = "", ""
    return Redelivery(number, event_id, actor, _time(asked_at))


def _time(text: str | None) -> datetime:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return UNKNOWN
    return time if time.tzinfo else UNKNOWN
