"""Places in the history as they are typed: where a replay starts and ends, and which event is meant."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from publisher.cli.arguments.options import MOST
from publisher.cli.arguments.times import moment
from registry.errors import Invalid
from registry.position import After, FromSequence, FromStart, Last, Position, Since, Start
from registry.validation import printable


def event(reference: str) -> int | UUID:
    """A sequence or an event id. Raises `Invalid`."""
    if reference.isdecimal() and reference.isascii() and 1 <= int(reference[:20]) <= MOST:
        return int(reference)
    try:
        return UUID(reference)
    except ValueError:
        raise Invalid(
            f'event "{reference}" is neither an id, a UUID, nor a sequence of the stream, 1 or more'
        ) from None


def start(
    from_start: bool, since: str | None, from_sequence: int | None, last: int | None, after: str | None
) -> Start | None:
    """The one start that is given. Raises `Invalid` when there are several."""
    given: list[Start] = []
    if from_start:
        given.append(FromStart())
    if since is not None:
        given.append(Since(moment(since)))
    if from_sequence is not None:
        given.append(FromSequence(from_sequence))
    if last is not None:
        given.append(Last(last))
    if after is not None:
        given.append(After(Position.parse(after)))
    if len(given) > 1:
        raise Invalid("give one of --from-start, --since, --from-sequence, --last and --after")
    return given[0] if given else None


def end(until: str | None, follow: bool) -> datetime | int | None:
    """A sequence or a time. Raises `Invalid`."""
    if until is None:
        return None
    if follow:
        raise Invalid("a replay either follows or has an end: give follow or until, not both")
    if not until.isdecimal():
        return moment(until)
    if not 1 <= int(until[:20]) <= MOST:  # of no more digits than Python reads
        raise Invalid(f"until sequence {printable(until)} is not 1 or more, {MOST} at most")
    return int(until)
