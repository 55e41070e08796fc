"""History older than the stream, as asked over NATS: request and page. The publisher answers from the outbox.

A request is JSON; a page is one line of JSON, then for each event a line `sequence outbox_id subject` and a line with
its envelope (which has no line break in it), all bytes as the stream had them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import orjson

from registry.errors import Conflict, Invalid, RegistryError
from registry.events.filter import EventFilter
from registry.position import Position
from registry.profiles.profile import Profile

NOT_READ = (ValueError, KeyError, IndexError, TypeError, AttributeError)
"""What reading something raises that is not what it should be; what pydantic raises is a `ValueError`."""


class HistoryLost(Conflict):
    """What came after a position is neither in the stream nor in the outbox any more: take a new snapshot."""


class Replayed(NamedTuple):
    """One event of the history."""

    subject: str
    payload: bytes
    """Its envelope, the same bytes wherever they come from."""
    position: Position
    """`str(position)` is the token with which a replay goes on after this event."""

    @property
    def sequence(self) -> int:
        """Its sequence in the stream (in a shared stream that no longer holds it: an upper bound)."""
        return self.position.sequence


@dataclass(frozen=True)
class HistoryRequest:
    """What was published between two places, both exclusive."""

    after: Position
    before: Position
    filter: EventFilter

    def encode(self) -> bytes:
        """The request on the wire."""
        text = {"after": str(self.after), "before": str(self.before), "filter": orjson.Fragment(self.filter.to_json())}
        return orjson.dumps(text)

    @classmethod
    def decode(cls, text: bytes) -> HistoryRequest:
        """Read a request. Raises `Invalid`."""
        try:
            fields = orjson.loads(text)
            after, before, wanted = fields["after"], fields["before"], orjson.dumps(fields["filter"])
            return cls(Position.parse(after), Position.parse(before), EventFilter.from_json(wanted))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Invalid("a history request is an object of after, before (positions) and filter") from None


@dataclass(frozen=True)
class HistoryPage:
    """Some of what was asked for."""

    events: list[Replayed]
    next: Position | None
    """Ask again from here; None when that was all."""
    lost_before: int
    """Events up to this sequence are gone for good; 0 when none are."""

    def encode(self) -> bytes:
        """The page on the wire."""
        head = {"next": None if self.next is None else str(self.next), "lost_before": self.lost_before}
        parts = [orjson.dumps(head)]
        for event in self.events:
            parts.append(f"{event.position.sequence} {event.position.outbox_id} {event.subject}".encode())
            parts.append(event.payload)
        return b"\n".join(parts)

    @classmethod
    def decode(cls, text: bytes, *, is_shared: bool) -> HistoryPage:
        """Read a page. Raises `RegistryError` for an answer that is none: anybody may answer who is let."""
        try:
            first, *lines = text.split(b"\n")
            head = orjson.loads(first)
            events = []
            for place, payload in zip(lines[::2], lines[1::2], strict=True):
                sequence, outbox_id, subject = place.decode().split(" ")
                events.append(Replayed(subject, payload, Position(int(sequence), int(outbox_id), is_shared)))
            return cls(events, head["next"] and Position.parse(head["next"]), int(head["lost_before"]))
        except NOT_READ as error:
            raise RegistryError("history: the answer is none that this version knows") from error


def history_subject(profile: Profile) -> str:
    """Where the publisher answers `HistoryRequest`."""
    return f"{profile.requests}.history"


def origin_subject(profile: Profile) -> str:
    """Where the publisher answers a time (RFC 3339) with the position before all that was published since."""
    return f"{profile.requests}.history_origin"
