"""What a naming profile does: an outbox row to its message, a message in a stream to the event of ours that it is."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, Self

from registry.commands import Outcome
from registry.commands.reading import Command
from registry.errors import Invalid, RegistryError
from registry.events.message import FIRST_TIME, LAST_TIME, Message, OutboxRow
from registry.events.reference import INVALID, INVALID_TIME, Omission
from registry.profiles.bloodbank import SHARED, BloodbankProfile, Shared
from registry.profiles.bloodbank import SOURCE as SHARED_SOURCE
from registry.profiles.imi import ImiProfile
from registry.profiles.pipeline import SOURCE_ROOT
from registry.subjects import DEFAULT_SOURCE, CommandNames, LetterNames
from registry.validation import PREFIX, RULES, SOURCE, printable

__all__ = ["MOST_EVENT_LEVELS", "PROFILES", "Profile", "Shared", "encoded", "profile_named", "spoken"]

DETAIL_CHARACTERS = 500
MOST_EVENT_LEVELS = 120
"""How deep the data of an event may be nested: a row's metadata has 100 at most, and readers of JSON 128 altogether."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,100}")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_JSON_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')


class Profile(Protocol):
    """One way to name and place events and commands: `ImiProfile` or `BloodbankProfile`."""

    is_shared: bool
    """The stream exists, belongs to others too, and is neither created nor altered here."""
    event_stream: str

    @property
    def has_all_events(self) -> bool:
        """Whether whatever changes the tables is in the stream."""

    event_subjects: str
    """Wildcard of all subjects that our events have."""
    source: str
    """CloudEvents `source` of our events."""
    requests: str
    """What the subjects of the publisher's own services begin with."""
    commands: CommandNames
    letters: LetterNames

    def on_streams(self, events: Sequence[str] | None, commands: Sequence[str] | None) -> Self:
        """This profile as it is spoken in the streams that have these subjects; None: of one it is not known.

        Raises `Conflict` for a stream that does not take ours.
        """

    def publishes(self, entity: str, action: str) -> bool:
        """Whether such an event goes into the stream."""

    def check_wanted(self, entity: str | None, action: str | None) -> None:
        """Raise `Invalid` for events that a reader wants, None for any, and that the stream does not have."""

    def encode(self, row: OutboxRow, max_bytes: int) -> Message:
        """The message of an outbox row; one larger than the server's limit of `max_bytes` has no data.

        May fail for a row that breaks a rule: `encoded` does not.
        """

    def event_filter(self, entity: str | None, action: str | None, project_id: str | None) -> str:
        """The narrowest subject wildcard that has all events of these, None for any."""

    def identity(self, headers: Mapping[str, str]) -> tuple[int, str] | tuple[None, None]:
        """Outbox id and event id of an event of this registry; nothing for any other message of the stream."""

    def parse_command(self, payload: bytes, twice: list[str]) -> Any:
        """The CloudEvents attributes of a command, called as in the profile `imi`; or anything that is none.

        Names that an object in it has twice are put into `twice`.
        """

    def complete_command(self, name: str, attributes: dict[str, Any]) -> dict[str, Any]:
        """The attributes of a command of ours to those it is sent with. Raises `Invalid` for one that cannot be."""

    def reply(self, command: Command, outcome: Outcome) -> bytes:
        """The outcome of a command as it is published to its reply subject."""


PROFILES: dict[str, type[ImiProfile] | type[BloodbankProfile]] = {"imi": ImiProfile, "bloodbank": BloodbankProfile}
"""Name, as in the setting `profile`, to the class."""


def encoded(profile: Profile, row: OutboxRow, max_bytes: int) -> Message:
    """The message of an outbox row, whatever is in it: one that cannot be told goes out as a reference.

    Its bytes depend on the row alone, so that relay, replay and rebuilt stream have the same.
    """
    omission = row.omission or _omission(row)
    if omission is None:
        try:
            return profile.encode(row, max_bytes)
        except (ValueError, LookupError, TypeError, RecursionError, RegistryError) as error:
            omission = Omission(INVALID, f"{type(error).__name__}: {error}"[:DETAIL_CHARACTERS])
    known = row._replace(entity=_token(row.entity), action=_token(row.action), omission=omission)
    return profile.encode(known, max_bytes)


def _omission(row: OutboxRow) -> Omission | None:
    """Why this row cannot be told, as far as a look shows."""
    if not row.data or row.data[0] != "{":
        return Omission(INVALID, "data is no object")
    if _is_deep(row.data):
        return Omission(INVALID, f"data is nested deeper than {MOST_EVENT_LEVELS} levels")
    if row.occurred_at == LAST_TIME or row.occurred_at == FIRST_TIME:
        return Omission(INVALID_TIME, "occurred_at is not a time between the years 1 and 9999")
    if not _are_tokens(row.entity, row.action):
        return Omission(INVALID, f"entity {printable(row.entity)} or action {printable(row.action)} is no name")
    return None


def _is_deep(data: str) -> bool:
    """Whether a JSON text is nested deeper than `MOST_EVENT_LEVELS`. Most have too few brackets to need a look."""
    if data.count("{") + data.count("[") <= MOST_EVENT_LEVELS:
        return False
    brackets = _JSON_STRING.sub("", data).encode().translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(MOST_EVENT_LEVELS):  # each time the innermost are taken away
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


@lru_cache(maxsize=256)
def _are_tokens(entity: str, action: str) -> bool:
    """Whether both can stand between two dots of a subject."""
    return _TOKEN.fullmatch(entity) is not None and _TOKEN.fullmatch(action) is not None


def _token(name: str) -> str:
    """`name` as it can stand there."""
    return re.sub("[^A-Za-z0-9_-]", "_", name)[:100] or "_"


async def spoken(profile: Profile, look: Callable[[str], Awaitable[list[str] | None]]) -> Profile:
    """`profile` as it is spoken in its streams; `look` tells what is bound to one, None where it cannot.

    Raises `Conflict` for a stream that does not take our subjects.
    """
    if not profile.is_shared:
        return profile
    return profile.on_streams(await look(profile.event_stream), await look(profile.commands.stream))


def profile_named(
    name: str,
    *,
    prefix: str = "imi",
    source: str = DEFAULT_SOURCE,
    event_versions: Mapping[str, int] | None = None,
    shared: Shared = SHARED,
) -> Profile:
    """The profile `name` for one registry; the parameters are the settings of the same names, `shared` several.

    Raises `Invalid` naming setting, value and rule.
    """
    if name not in PROFILES:
        raise Invalid(f"setting profile: value {printable(name)}: it must be {' or '.join(PROFILES)}")
    _check("prefix", prefix, PREFIX)
    _check("source", source, SOURCE)
    if name == "bloodbank":
        return BloodbankProfile(prefix, _shared_source(source), event_versions, shared)
    return ImiProfile(prefix, source, event_versions)


def _shared_source(source: str) -> str:
    """The `source` of a registry in the shared stream, where it names a service of the pipeline."""
    if source == DEFAULT_SOURCE:
        return SHARED_SOURCE
    if not re.fullmatch(rf"{SOURCE_ROOT}[a-z0-9][a-z0-9._-]*", source):
        raise Invalid(
            f"setting source: value {printable(source)}: it must be {SOURCE_ROOT} and the name of a service, in small "
            "letters, in profile bloodbank"
        )
    return source


def _check(setting: str, value: str, pattern: str) -> None:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise Invalid(f"setting {setting}: value {printable(value)}: {RULES[pattern]}")
