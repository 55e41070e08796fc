"""The log of actions: who did what, in a console or on a command line, and what came of it.

It is a stream of the installation: it outlives processes, and all consoles show the same. An action stands in it when
it is done; what is done with dead letters of subscriptions is recorded before, too (`registry/dead_letters/record.py`).
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from uuid import uuid4

from nats.aio.client import Client

from registry.broker.journal import Journal, Line
from registry.subjects import LetterNames

Means = Literal["console", "cli"]

MOST_CHARACTERS = 2_000
"""Of each text: an outcome may be an error that has a whole value in it."""


class Action(NamedTuple):
    """Something that was done."""

    at: datetime
    who: str
    what: str
    """The action, as `dead letter: retry`."""
    about: str
    """What it was done to."""
    outcome: str
    is_well: bool


class Entry(NamedTuple):
    """An action as it stands in the log."""

    id: str
    means: Means
    host: str
    """Of the process that noted it."""
    action: Action


def entry_of(means: Means, who: str, what: str, about: str, outcome: str, *, is_well: bool = True) -> Entry:
    """What is to be logged of an action of now."""
    who, what, about, outcome = (_writable(text[:MOST_CHARACTERS]) for text in (who, what, about, outcome))
    action = Action(datetime.now(UTC), who, what, about, outcome, is_well)
    return Entry(uuid4().hex, means, socket.gethostname(), action)


def _writable(text: str) -> str:
    """A name from a command line may have bytes in it that are no text."""
    return text.encode(errors="backslashreplace").decode()


class Actions:
    """The log of one installation."""

    def __init__(self, client: Client, names: LetterNames) -> None:
        self._names = names
        description = "What people did in consoles and on command lines: who, when, what, and what came of it"
        self._journal = Journal(client, names.action_stream, names.action_root, description, like=names.event_stream)

    async def add(self, entry: Entry) -> None:
        """Write an entry; the same once more is written once. Raises `Unavailable`, `Conflict`."""
        at = entry.action.at.isoformat(timespec="milliseconds")
        line = entry.action._asdict() | {"at": at, "id": entry.id, "means": entry.means, "host": entry.host}
        await self._journal.write(self._names.action_subject(entry.means), line, line_id=entry.id)

    async def latest(self, most: int) -> list[Entry]:
        """The last entries, newest first. Raises `Unavailable`."""
        found = [_entry(line) for line in await self._journal.latest(most)]
        return [entry for entry in found if entry is not None]


def _entry(line: Line) -> Entry | None:
    """The entry that a line tells; None for one of somebody else."""
    try:
        at = datetime.fromisoformat(line["at"])
        who, what, about, outcome = texts = [line[name] for name in ("who", "what", "about", "outcome")]
        action = Action(at, who, what, about, outcome, line["is_well"] is True)
        entry = Entry(line["id"], line["means"], line["host"], action)
    except (KeyError, ValueError, TypeError):
        return None
    is_text = all(isinstance(text, str) for text in (*texts, entry.id, entry.means, entry.host))
    return entry if is_text and at.tzinfo is not None else None
