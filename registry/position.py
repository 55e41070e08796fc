"""Places in the event history: where a replay starts, and the token with which it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self

from registry.arguments import MOST_INTEGER, check_fields
from registry.errors import Invalid
from registry.validation import printable

_VERSION = "1"


class Position(NamedTuple):
    """The place directly behind one event. `str()` makes it an opaque token, `Position.parse` reads it back."""

    sequence: int
    """Of the event in the stream; 0 is the place before the first."""
    outbox_id: int = 0
    """Of the event; 0 when only the sequence is known."""
    is_recorded: bool = False
    """The sequence comes from the record of a shared stream: no event of ours before it has a higher one, but the
    event itself may have had a lower one. So going on starts from the record, too."""
    included: tuple[tuple[int, int], ...] = ()
    """Outbox ids, as ranges `[low, high)`, of events that come later and are known already: from a snapshot."""

    def __str__(self) -> str:
        parts = [_VERSION, str(self.sequence), str(self.outbox_id), str(int(self.is_recorded))]
        if self.included:  # without, a last "." would look like the end of a sentence, and not be copied
            parts.append(",".join(f"{low}-{high}" for low, high in self.included))
        return ".".join(parts)

    @classmethod
    def parse(cls, token: str) -> Self:
        """The position of a token. Raises `Invalid` for a text that is none."""
        try:
            version, sequence, outbox_id, is_recorded, *rest = token.split(".")
            (ranges,) = rest or [""]
            pairs = [part.split("-") for part in ranges.split(",") if part]
            included = tuple((int(low), int(high)) for low, high in pairs)
            found = cls(int(sequence), int(outbox_id), bool(int(is_recorded)), included)
        except ValueError:
            raise _no_token(token) from None
        numbers = [found.sequence, found.outbox_id, *[number for part in included for number in part]]
        if version != _VERSION or min(numbers) < 0 or max(numbers) > MOST_INTEGER:
            raise _no_token(token)
        return found


@dataclass(frozen=True)
class FromStart:
    """The oldest event there is, in the stream or before it."""


@dataclass(frozen=True)
class FromSequence:
    """The event with this sequence in the stream, or the first after it."""

    sequence: int


@dataclass(frozen=True)
class Since:
    """All events that occurred at or after a time; it must have a time zone."""

    time: datetime


@dataclass(frozen=True)
class Last:
    """The last events, so many that match the filter."""

    count: int


@dataclass(frozen=True)
class After:
    """Behind an event: its `position`, or the position's text."""

    position: Position | str


Start = FromStart | FromSequence | Since | Last | After


def check_start(start: Start) -> None:
    """Raise `Invalid` for a start that cannot be meant."""
    check_fields(start)
    if isinstance(start, After) and isinstance(start.position, Position):
        Position.parse(str(start.position))
    match start:
        case FromSequence(sequence) if sequence < 1:
            raise Invalid(f"sequence {sequence} is not 1 or more")
        case Last(count) if count < 1:
            raise Invalid(f"last {count} is not 1 or more")
        case Since(time) if time.tzinfo is None:
            raise Invalid(f'time "{time}" has no time zone')


def _no_token(token: str) -> Invalid:
    return Invalid(f"resume token {printable(token)} is none that a replay gave")
